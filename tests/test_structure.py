"""The code keeps its structure: circles, folders, wide signatures, late and heavy imports."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FLOORS = ("retention", "workers", "bot")
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef
IMPORTS = ast.Import, ast.ImportFrom
BY_STRING = {"import_module", "__import__", "attach", "attach_stub"}
PICKLES = {"pickle", "joblib", "cloudpickle", "dill", "shelve", "marshal"}
HEAVY = {
    *("pandas", "sklearn", "implicit", "matplotlib", "duckdb", "ibis", "deltalake", "pyarrow"),
    *("scipy", "torch"),
}
TEST = re.compile(r"^ *(?:async )?(?:def|class) ([tT]est\w*)", re.MULTILINE)
MAX_FILES = 20  # in a folder; bot/commands has one file per subject
MAX_WIDE, WIDE = 8, 8  # functions with so many parameters
MAX_LATE, MAX_LATE_IN_WORKERS = 300, 60  # imports inside functions
MAX_PAIRS = 30  # functions that take a session and the settings apart
MAX_REPEATED, OFTEN = 1_500, 5  # lines of docstrings that occur so often


@cache
def trees() -> dict[Path, ast.Module]:
    """The syntax tree of each file of the floors, but of no migration."""
    files = (path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py")))
    return {
        path: ast.parse(path.read_text("utf-8")) for path in files if "versions" not in path.parts
    }


@cache
def _nodes_by_kind() -> dict[type[ast.AST], list[tuple[Path, Any]]]:
    found = defaultdict(list)
    for path, tree in trees().items():
        for node in ast.walk(tree):
            found[type(node)].append((path, node))
    return found


def nodes(*kinds: type[ast.AST]) -> list[tuple[Path, Any]]:
    """All nodes of these kinds with their files."""
    return [pair for kind in kinds for pair in _nodes_by_kind()[kind]]


def modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Modules that a statement names."""
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names]


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Names of a function's parameters, without ``self`` and ``cls``."""
    arguments = (*function.args.args, *function.args.kwonlyargs)
    return {argument.arg for argument in arguments} - {"self", "cls"}


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether Click calls it: its parameters are the options."""
    decorators = [ast.dump(decorator) for decorator in function.decorator_list]
    return any("command" in text or "option" in text for text in decorators)


def module_name(path: Path) -> str:
    """Dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(known: set[str]) -> dict[str, set[str]]:
    """Our modules that each file imports, also inside functions, but not for types alone."""
    for_types = {
        id(node)
        for _, block in nodes(ast.If)
        if "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    targets: dict[str, set[str]] = {name: set() for name in known}
    for path, node in nodes(*IMPORTS):
        if id(node) in for_types:
            continue
        names = {*modules(node)}
        if isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = {name if name in known else node.module for name in inner}
        targets[module_name(path)] |= names & known - {module_name(path)}
    return targets


def test_a_folder_has_at_most_twenty_files():
    files = Counter(path.parent for path in trees() if path.name != "__init__.py")
    files.pop(ROOT / "bot" / "commands")
    assert {str(folder): number for folder, number in files.items() if number > MAX_FILES} == {}


def test_files_import_each_other_in_no_circle():
    left = imported({module_name(path) for path in trees()})
    while leaves := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in leaves}
    # What is left lies on a circle, or imports one.
    assert {name: sorted(targets & left.keys()) for name, targets in left.items()} == {}


def test_few_functions_have_many_parameters():
    wide = [
        f"{path.relative_to(ROOT)}: {function.name}"
        for path, function in nodes(*FUNCTIONS)
        if len(parameters(function)) >= WIDE and not is_command(function)
    ]
    assert len(wide) <= MAX_WIDE, wide


def test_a_transaction_carries_its_settings():
    pairs = [
        f"{path.relative_to(ROOT)}: {function.name}"
        for path, function in nodes(*FUNCTIONS)
        if {"session", "settings"} <= parameters(function)
    ]
    assert len(pairs) <= MAX_PAIRS, pairs


def test_most_imports_stand_at_the_top_of_their_file():
    late = Counter(
        path.relative_to(ROOT).parts[0]
        for path, function in nodes(*FUNCTIONS)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    )
    assert late.total() <= MAX_LATE
    assert late["workers"] <= MAX_LATE_IN_WORKERS


def test_docstrings_do_not_repeat_the_same_lines():
    lines = Counter(
        line.strip()
        for _, function in nodes(*FUNCTIONS)
        for line in (ast.get_docstring(function) or "").splitlines()
        if line.strip()
    )
    assert sum(number for number in lines.values() if number >= OFTEN) <= MAX_REPEATED


def test_page_of_the_architecture_names_all_layers_in_order():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    (inside,) = [one for one in contracts["importlinter"]["contracts"] if "exhaustive" in one]
    page = (ROOT / "docs" / "contributor" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## The layers of retention")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert named == [name for layer in inside["layers"] for name in re.split(r" [:|] ", layer)]


def test_test_names_have_at_most_80_characters():
    names = {
        name: path
        for path in (ROOT / "tests").rglob("*.py")
        for name in TEST.findall(path.read_text("utf-8"))
    }
    assert len(names) > 1000
    assert not {name: path for name, path in names.items() if len(name) > 80}


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
    calls = {
        path
        for path, call in nodes(ast.Call)
        if getattr(call.func, "attr", getattr(call.func, "id", "")) in BY_STRING
    }
    lazy = {path for path, node in nodes(*IMPORTS) if "lazy_loader" in modules(node)}
    assert not [path for path in calls | lazy if path.is_relative_to(ROOT / "retention")]


def test_nothing_is_pickled():
    assert not [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, node in nodes(*IMPORTS)
        if PICKLES & {name.split(".")[0] for name in modules(node)}
    ]


def test_migrations_neither_pickle_nor_import_by_string():
    guilty = re.compile(rf"\b({'|'.join(PICKLES | BY_STRING | {'lazy_loader'})})\b")
    files = sorted((ROOT / "retention").rglob("versions/*.py"))
    assert files
    assert not [path.name for path in files if guilty.search(path.read_text("utf-8"))]


def test_every_test_listed_as_english_exists():
    for name in Path("tests/english_tests.txt").read_text(encoding="utf-8").split():
        file, _, function = name.partition("::")
        assert f"def {function}(" in Path(file).read_text(encoding="utf-8"), name


def test_the_bot_imports_no_task_when_it_starts():
    """Tasks load models and the lake; stand-ins replace them where only the services are tested."""
    allowed = {"interface", "runner"}
    assert not [
        f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"
        for path, node in nodes(*IMPORTS)
        for name in modules(node)
        if path.is_relative_to(ROOT / "bot")
        if name.startswith("workers.tasks.") and name.split(".")[2] not in allowed
    ]
