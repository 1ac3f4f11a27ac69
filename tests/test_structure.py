"""The house stays small enough to hold in mind: folders, cycles, wide signatures, late imports."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLOORS = ("retention", "workers", "bot")
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef
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


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions with their files."""
    for path, tree in trees().items():
        yield from ((path, node) for node in ast.walk(tree) if isinstance(node, FUNCTIONS))


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


def imported(tree: ast.Module, known: set[str]) -> set[str]:
    """Our modules that a file imports, also inside functions, but not for types alone."""
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.add(inner if inner in known else node.module)
    return names & known


def test_a_folder_has_at_most_twenty_files():
    files = Counter(path.parent for path in trees() if path.name != "__init__.py")
    files.pop(ROOT / "bot" / "commands")
    assert {str(folder): number for folder, number in files.items() if number > MAX_FILES} == {}


def test_files_import_each_other_in_no_circle():
    known = {module_name(path) for path in trees()}
    left = {
        module_name(path): imported(tree, known) - {module_name(path)}
        for path, tree in trees().items()
    }
    while leaves := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in leaves}
    # What is left lies on a circle, or imports one.
    assert {name: sorted(targets & left.keys()) for name, targets in left.items()} == {}


def test_few_functions_have_many_parameters():
    wide = [
        f"{path.relative_to(ROOT)}: {function.name}"
        for path, function in functions()
        if len(parameters(function)) >= WIDE and not is_command(function)
    ]
    assert len(wide) <= MAX_WIDE, wide


def test_a_transaction_carries_its_settings():
    pairs = [
        f"{path.relative_to(ROOT)}: {function.name}"
        for path, function in functions()
        if {"session", "settings"} <= parameters(function)
    ]
    assert len(pairs) <= MAX_PAIRS, pairs


def test_most_imports_stand_at_the_top_of_their_file():
    late = Counter(
        path.relative_to(ROOT).parts[0]
        for path, function in functions()
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    )
    assert late.total() <= MAX_LATE
    assert late["workers"] <= MAX_LATE_IN_WORKERS


def test_docstrings_do_not_repeat_the_same_lines():
    lines = Counter(
        line.strip()
        for _, function in functions()
        for line in (ast.get_docstring(function) or "").splitlines()
        if line.strip()
    )
    assert sum(number for number in lines.values() if number >= OFTEN) <= MAX_REPEATED
