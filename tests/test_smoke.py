"""Resolving is not importing: every dependency that we name imports, and the front door opens."""

import importlib
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
INSTALLED = ("demo", "postgres", "test")  # spark and deep are gigabytes: targets of their own
TOOLS = {"mypy", "ruff", "types-pyyaml"}  # commands and stubs, nothing to import


def _names() -> list[str]:
    lines = [
        *PROJECT["dependencies"],
        *(r for extra in INSTALLED for r in PROJECT["optional-dependencies"][extra]),
    ]
    return sorted({Requirement(line).name.lower() for line in lines} - TOOLS)


@pytest.mark.nightly_after(10)
@pytest.mark.parametrize("name", _names())
def test_every_dependency_imports(name):
    def canonical(text: str) -> str:
        return text.lower().replace("_", "-")

    modules = [
        module
        for module, distributions in packages_distributions().items()
        if name in map(canonical, distributions)
        and not module.startswith("_")
        and module.isidentifier()
    ]
    importable = sorted(modules, key=lambda module: canonical(module) != name)  # its own name first
    if name == "tzdata":
        importable = ["tzdata"]
    assert importable, f"{name} is not installed"
    importlib.import_module(importable[0])


def test_the_terminal_answers():
    done = subprocess.run(
        [sys.executable, "-m", "bot.terminal", "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "sweep" in done.stdout
