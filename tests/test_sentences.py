"""Check that the sentences people read can be translated."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("retention", "workers", "bot")


@dataclass
class Sources:
    """What the files define and call; each file is walked once."""

    classes: list[ast.ClassDef] = field(default_factory=list)
    functions: dict[str, dict[str, ast.FunctionDef]] = field(default_factory=dict)  # name, file
    calls: list[tuple[str, ast.AST, ast.Call]] = field(default_factory=list)  # file, scope, call
    files: dict[int, str] = field(default_factory=dict)  # of a module or function, by its id

    @classmethod
    def read(cls) -> "Sources":
        sources = cls()
        for package in PACKAGES:
            for path in (ROOT / package).rglob("*.py"):
                tree = ast.parse(path.read_text(encoding="utf-8"))
                sources.add(str(path.relative_to(ROOT)), tree, tree)
        return sources

    def add(self, file: str, node: ast.AST, scope: ast.AST) -> None:
        """Add a node and what is below it; its scope is the innermost function or the module."""
        if isinstance(node, ast.Module | ast.FunctionDef | ast.Lambda):
            scope = node
            self.files[id(node)] = file
        if isinstance(node, ast.FunctionDef):
            self.functions.setdefault(node.name, {})[file] = node
        elif isinstance(node, ast.ClassDef):
            self.classes.append(node)
        elif isinstance(node, ast.Call):
            self.calls.append((file, scope, node))
        for child in ast.iter_child_nodes(node):
            self.add(file, child, scope)

    def function(self, name: str, scope: ast.AST) -> ast.FunctionDef | None:
        """Return the function of this name in the same file, else the only one anywhere."""
        named = self.functions.get(name, {})
        only = next(iter(named.values())) if len(named) == 1 else None
        return named.get(self.files[id(scope)], only)

    def refusals(self) -> dict[str, ast.ClassDef | None]:
        """Return `Refused` and all classes derived from it, by name."""
        found: dict[str, ast.ClassDef | None] = {"Refused": None}
        while derived := {
            node.name: node
            for node in self.classes
            if node.name not in found and any(_name(base) in found for base in node.bases)
        }:
            found |= derived
        return found


def _name(node: ast.AST) -> str:
    return str(getattr(node, "id", getattr(node, "attr", "")))


def _is_gettext(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and _name(node.func) == "gettext"
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Constant)
    )


def _assigned(scope: ast.AST, name: str) -> Iterator[ast.expr]:
    """Yield the values that a function or a module gives a variable."""
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    yield node.value
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    for part, value in zip(target.elts, node.value.elts, strict=False):
                        if _name(part) == name:
                            yield value
        elif (
            isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr)
            and node.value
            and _name(node.target) == name
        ):
            yield node.value


def _is_bare(
    node: ast.AST, scope: ast.AST, sources: Sources, seen: frozenset[str] = frozenset()
) -> bool:
    """Return whether the text of an expression holds a sentence outside of gettext."""

    def is_bare(part: ast.AST) -> bool:
        return _is_bare(part, scope, sources, seen)

    match node:
        case ast.Constant(value=str(text)):
            return any(sign.isalpha() for sign in text)
        case ast.JoinedStr():
            return True
        case ast.BinOp():
            return is_bare(node.left) or is_bare(node.right)
        case ast.IfExp():
            return is_bare(node.body) or is_bare(node.orelse)
        case ast.BoolOp():
            return any(map(is_bare, node.values))
        case ast.List() | ast.Tuple() | ast.Set():
            return any(map(is_bare, node.elts))
        case ast.Starred():
            return is_bare(node.value)
        case ast.GeneratorExp() | ast.ListComp():
            return is_bare(node.elt)
        case ast.Name(id=name) if name not in seen:
            return any(
                _is_bare(value, scope, sources, seen | {name}) for value in _assigned(scope, name)
            )
        case ast.Call(func=func):
            if _name(func) == "gettext":
                return not _is_gettext(node)
            if _name(func) == "format" and isinstance(func, ast.Attribute):
                return is_bare(func.value)
            if _name(func) == "join":
                return any(map(is_bare, node.args))
            function = sources.function(_name(func), scope)
            if function and _name(func) not in seen:
                return any(
                    _is_bare(returned.value, function, sources, seen | {_name(func)})
                    for returned in ast.walk(function)
                    if isinstance(returned, ast.Return) and returned.value
                )
    return False


def _unmarked(sources: Sources) -> Iterator[str]:
    """Yield the place of each message of a refusal that is not made with gettext."""
    refusals = sources.refusals()
    # Those that make their message themselves, in ``__init__``.
    own = {
        name: methods
        for name, node in refusals.items()
        if node and (methods := [item for item in node.body if isinstance(item, ast.FunctionDef)])
    }
    for file, scope, call in sources.calls:
        in_own = any(scope in methods for methods in own.values())
        makes_message = in_own and ast.unparse(call.func) == "super().__init__"
        if _name(call.func) not in refusals.keys() - own.keys() and not makes_message:
            continue
        if not call.args or any(_is_bare(part, scope, sources) for part in call.args):
            yield f"{file}:{call.lineno} {ast.unparse(call)[:100]}"


def test_messages_of_refusals_are_made_with_gettext():
    assert not list(_unmarked(Sources.read()))


@pytest.mark.parametrize(
    ("body", "is_bare"),
    [
        ('raise BadInput(gettext("No {x}.").format(x=f"a{1}"))', False),
        ('text = gettext("A.") if a else gettext("B.")\n    raise BadInput(text)', False),
        ('raise BadInput("No.")', True),
        ('raise BadInput(f"No {a}.")', True),
        ('raise BadInput(gettext(f"No {a}."))', True),
        ('text = "No " + a\n    raise BadInput(text)', True),
        ("raise BadInput(helper(a))", True),
    ],
)
def test_finds_messages_outside_of_gettext(body, is_bare):
    code = (
        f'class Refused: pass\nclass BadInput(Refused): pass\ndef helper(a): return f"No {{a}}."\n'
        f"def f(a):\n    {body}\n"
    )
    sources = Sources()
    tree = ast.parse(code)
    sources.add("it.py", tree, tree)
    assert bool(list(_unmarked(sources))) is is_bare
