"""The house keeps its floors: nothing imports upward, and the bot starts light."""

import ast
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BY_STRING = {"import_module", "__import__", "attach", "attach_stub"}
DEFINITIONS = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
FLOOR = {"retention": 1, "workers": 2, "bot": 3}
HEAVY = {
    *("pandas", "sklearn", "implicit", "matplotlib", "duckdb", "ibis", "deltalake", "pyarrow"),
    *("scipy", "torch"),
}


@dataclass(frozen=True)
class Facts:
    """What these tests ask of a file; it is parsed once."""

    imports: tuple[tuple[int, str], ...]  # of whole modules, relative ones left out
    modules: tuple[
        tuple[int, str], ...
    ]  # relative ones resolved; ``from a import b`` as ``a.b`` too
    by_string: tuple[int, ...]  # lines that import by string
    tests: tuple[tuple[int, str], ...]


@cache
def facts(path: Path) -> Facts:
    """Parse a file."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    imports: list[tuple[int, str]] = []
    modules: list[tuple[int, str]] = []
    by_string: list[int] = []
    tests: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [(node.lineno, alias.name) for alias in node.names]
            imports += names
            modules += names
        elif isinstance(node, ast.ImportFrom):
            if node.module and not node.level:
                imports.append((node.lineno, node.module))
            base = package[: len(package) - node.level + 1] if node.level else ()
            source = [*base, node.module] if node.module else [*base]
            modules.append((node.lineno, ".".join(source)))
            modules += [(node.lineno, ".".join([*source, alias.name])) for alias in node.names]
        elif isinstance(node, ast.Call):
            if getattr(node.func, "attr", getattr(node.func, "id", "")) in BY_STRING:
                by_string.append(node.lineno)
        elif isinstance(node, DEFINITIONS) and node.name.lower().startswith("test"):
            tests.append((node.lineno, node.name))
    return Facts(tuple(imports), tuple(modules), tuple(by_string), tuple(tests))


@pytest.mark.parametrize("package", FLOOR)
def test_no_file_imports_a_higher_floor(package):
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in (ROOT / package).rglob("*.py")
        for line, name in facts(path).imports
        if FLOOR.get(name.split(".")[0], 0) > FLOOR[package]
    ]
    assert not upward


def test_tests_of_retention_import_neither_bot_nor_workers():
    """Imports inside functions count, and so do those of helpers below tests/ that they import."""
    pending = sorted((ROOT / "tests" / "retention").rglob("*.py"))
    pending += [ROOT / "tests" / "__init__.py", ROOT / "tests" / "conftest.py"]
    checked: set[Path] = set()
    guilty = []
    while pending:
        path = pending.pop()
        if path in checked:
            continue
        checked.add(path)
        for line, name in facts(path).modules:
            if name.split(".")[0] in {"bot", "workers"}:
                guilty.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
            elif name.split(".")[0] == "tests":
                module = ROOT / Path(*name.split("."))
                files = (
                    module.with_suffix(".py"),
                    module / "__init__.py",
                    module.parent / "conftest.py",
                )
                pending += [file for file in files if file.exists()]
    assert not guilty


def test_page_of_the_architecture_names_all_layers_in_order():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    (inside,) = [one for one in contracts["importlinter"]["contracts"] if "exhaustive" in one]
    page = (ROOT / "docs" / "contributor" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## The layers of retention")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert named == [name for layer in inside["layers"] for name in re.split(r" [:|] ", layer)]


def test_test_names_have_at_most_80_characters():
    long = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in (ROOT / "tests").rglob("*.py")
        for line, name in facts(path).tests
        if len(name) > 80
    ]
    assert not long


def test_what_must_start_fast_loads_nothing_heavy():
    modules = (
        "bot.slack.app, bot.http.server, bot.terminal, "
        "workers.app, workers.queue.jobs, workers.schedule.tick"
    )
    code = (
        f"import sys, {modules}; "
        f"print(sorted({HEAVY!r} & {{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_retention_imports_nothing_of_ours_by_string():
    """import-linter cannot see such imports, so they would hide a layer importing a higher one."""
    guilty = []
    for path in (ROOT / "retention").rglob("*.py"):
        lazy = any(name.split(".")[0] == "lazy_loader" for _, name in facts(path).imports)
        guilty += [f"{path.relative_to(ROOT)}:{line}" for line in facts(path).by_string]
        guilty += [str(path)] * lazy
    assert not guilty


def test_nothing_is_pickled():
    guilty = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in FLOOR
        for path in (ROOT / package).rglob("*.py")
        for line, name in facts(path).imports
        if name.split(".")[0] in {"pickle", "joblib", "cloudpickle", "dill", "shelve", "marshal"}
    ]
    assert not guilty


def test_every_test_listed_as_english_exists():
    for name in Path("tests/english_tests.txt").read_text(encoding="utf-8").split():
        file, _, function = name.partition("::")
        assert f"def {function}(" in Path(file).read_text(encoding="utf-8"), name


def test_the_bot_imports_no_task_when_it_starts():
    """Tasks load models and the lake; stand-ins replace them where only the services are tested."""
    allowed = {"interface", "runner"}
    guilty = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in (ROOT / "bot").rglob("*.py")
        for line, name in facts(path).imports
        if name.startswith("workers.tasks.") and name.split(".")[2] not in allowed
    ]
    assert not guilty
