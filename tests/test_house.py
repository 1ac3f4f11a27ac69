"""The house keeps its floors: nothing imports upward, and the bot starts light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOOR = {"retention": 1, "workers": 2, "bot": 3}
HEAVY = {
    "pandas",
    "sklearn",
    "implicit",
    "matplotlib",
    "duckdb",
    "ibis",
    "deltalake",
    "pyarrow",
    "scipy",
    "torch",
}


def _imports(path: Path) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.lineno, node.module))
    return found


@pytest.mark.parametrize("package", FLOOR)
def test_no_file_imports_a_higher_floor(package):
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in (ROOT / package).rglob("*.py")
        for line, name in _imports(path)
        if FLOOR.get(name.split(".")[0], 0) > FLOOR[package]
    ]
    assert not upward


@pytest.mark.parametrize(
    "module", ["bot.app", "bot.server", "bot.terminal", "workers.app", "workers.jobs", "workers.schedule"]
)
def test_what_must_start_fast_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(sorted({HEAVY!r} & {{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_nothing_is_pickled():
    guilty = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in FLOOR
        for path in (ROOT / package).rglob("*.py")
        for line, name in _imports(path)
        if name.split(".")[0] in {"pickle", "joblib", "cloudpickle", "dill", "shelve", "marshal"}
    ]
    assert not guilty
