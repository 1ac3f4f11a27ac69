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
    "module",
    ["bot.app", "bot.server", "bot.terminal", "workers.app", "workers.jobs", "workers.schedule"],
)
def test_what_must_start_fast_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(sorted({HEAVY!r} & {{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_retention_imports_nothing_of_ours_by_string():
    """import-linter cannot see such imports, so they would hide a layer that imports a higher one."""
    named = {"import_module", "__import__", "attach", "attach_stub"}
    guilty = []
    for path in (ROOT / "retention").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        lazy = any(name.split(".")[0] == "lazy_loader" for _, name in _imports(path))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        by_string = [
            call.lineno
            for call in calls
            if getattr(call.func, "attr", getattr(call.func, "id", "")) in named
        ]
        guilty += [f"{path.relative_to(ROOT)}:{line}" for line in by_string] + [str(path)] * lazy
    assert not guilty


def test_nothing_is_pickled():
    guilty = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in FLOOR
        for path in (ROOT / package).rglob("*.py")
        for line, name in _imports(path)
        if name.split(".")[0] in {"pickle", "joblib", "cloudpickle", "dill", "shelve", "marshal"}
    ]
    assert not guilty
