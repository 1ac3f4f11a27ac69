"""Answer GraphQL over plain dicts: enough of the language for the part of Shopify that we use.

A record is a dict with its type in ``__typename``. A list in it is a connection if the query asks
for ``nodes`` or ``edges``. A field that a record lacks is an error, as with a real schema.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\.\.\.|[{}()\[\]:!=$,]|[\w.+-]+|#[^\n]*|\s+')
UNSIZED = 50  # objects that a list without `first` counts as


class GraphqlError(Exception):
    """An error of a query, with Shopify's code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Field:
    """A selected field."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    selection: "list[Field]" = field(default_factory=list)
    on_type: str | None = None  # of an inline fragment


@dataclass(frozen=True)
class Variable:
    """A reference to a variable."""

    name: str


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = [
            token for token in _TOKEN.findall(text) if token.strip(" \n\t,") and token[0] != "#"
        ]
        self.place = 0

    def next(self) -> str:
        if self.place >= len(self.tokens):
            raise GraphqlError("syntax", "Parse error: unexpected end of file")
        self.place += 1
        return self.tokens[self.place - 1]

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def expect(self, token: str) -> None:
        if (found := self.next()) != token:
            raise GraphqlError("syntax", f"Parse error: expected {token}, found {found}")

    def document(self) -> tuple[str, list[Field]]:
        kind = "query"
        if self.peek() in ("query", "mutation"):
            kind = self.next()
            while self.peek() != "{":  # name and declared variables
                self.next()
        selection = self.selection()
        if self.peek():
            raise GraphqlError("syntax", f"Parse error: unexpected {self.peek()}")
        return kind, selection

    def selection(self) -> list[Field]:
        self.expect("{")
        fields = []
        while self.peek() != "}":
            name = self.next()
            if name == "...":
                self.expect("on")
                on_type = self.next()
                fields.append(Field("...", on_type=on_type, selection=self.selection()))
                continue
            arguments = self.arguments() if self.peek() == "(" else {}
            nested = self.selection() if self.peek() == "{" else []
            fields.append(Field(name, arguments, nested))
        self.expect("}")
        return fields

    def arguments(self) -> dict[str, Any]:
        self.expect("(")
        arguments = {}
        while self.peek() != ")":
            name = self.next()
            self.expect(":")
            arguments[name] = self.value()
        self.expect(")")
        return arguments

    def value(self) -> Any:
        word = self.next()
        if word == "$":
            return Variable(self.next())
        if word.startswith('"'):
            return word[1:-1].replace('\\"', '"')
        if word == "[":
            items = []
            while self.peek() != "]":
                items.append(self.value())
            self.expect("]")
            return items
        if re.fullmatch(r"-?\d+", word):
            return int(word)
        return {"true": True, "false": False, "null": None}.get(word, word)


def parse(text: str) -> tuple[str, list[Field]]:
    """Return whether it is a query or mutation, and what it selects."""
    return _Parser(text).document()


def bind(fields: Sequence[Field], variables: Mapping[str, Any]) -> list[Field]:
    """Replace variables by their values."""

    def value(given: Any) -> Any:
        if isinstance(given, Variable):
            return variables.get(given.name)
        return [value(each) for each in given] if isinstance(given, list) else given

    return [
        Field(
            each.name,
            {name: value(given) for name, given in each.arguments.items()},
            bind(each.selection, variables),
            each.on_type,
        )
        for each in fields
    ]


def cost(fields: Sequence[Field]) -> int:
    """Return the cost of a selection by Shopify's published rules."""
    total = 0
    for each in fields:
        if not each.selection:
            continue
        inner = cost(each.selection)
        if each.name in ("nodes", "edges", "node", "...", "pageInfo"):
            total += inner
        elif is_connection(each):
            total += 2 + int(each.arguments.get("first") or UNSIZED) * (1 + inner)
        else:
            total += int(each.arguments.get("first") or 1) * (1 + inner)
    return total


def objects(data: Any) -> int:
    """Return the actual cost of an answer: the number of its objects."""
    if isinstance(data, list):
        return sum(objects(each) for each in data)
    return 1 + sum(objects(each) for each in data.values()) if isinstance(data, dict) else 0


def is_connection(selected: Field) -> bool:
    """Return whether a field is asked for as a connection."""
    return any(child.name in ("nodes", "edges") for child in selected.selection)


Filter = Callable[[Field, list[dict[str, Any]]], list[dict[str, Any]]]


def project(
    record: Any, fields: Sequence[Field], select: Filter = lambda _, records: records
) -> Any:
    """Return the selected fields of a record.

    Parameters
    ----------
    record : dict
        With ``__typename``.
    fields : sequence of Field
        The selection.
    select : callable
        Returns the records of a connection that its arguments ask for.
    """
    if record is None:
        return None
    result: dict[str, Any] = {}
    for each in fields:
        if each.name == "...":
            if each.on_type == record.get("__typename"):
                result |= project(record, each.selection, select)
            continue
        if each.name not in record:
            kind = record.get("__typename", "QueryRoot")
            raise GraphqlError(
                "undefinedField", f"Field '{each.name}' doesn't exist on type '{kind}'"
            )
        result[each.name] = _value(record[each.name], each, select)
    return result


def _value(value: Any, selected: Field, select: Filter) -> Any:
    if isinstance(value, list) and is_connection(selected):
        return connection(select(selected, value), selected, select)
    if isinstance(value, list):
        count = selected.arguments.get("first")
        kept = value[:count] if count else value
        return [
            project(each, selected.selection, select) if selected.selection else each
            for each in kept
        ]
    if isinstance(value, dict) and selected.selection:
        return project(value, selected.selection, select)
    return value


def connection(records: list[dict[str, Any]], selected: Field, select: Filter) -> dict[str, Any]:
    """Return one page of a connection."""
    start = int(selected.arguments.get("after") or 0)
    end = start + int(selected.arguments.get("first") or len(records))
    page = records[start:end]
    result: dict[str, Any] = {}
    for each in selected.selection:
        if each.name == "nodes":
            result["nodes"] = [project(record, each.selection, select) for record in page]
        elif each.name == "edges":
            node = next(child for child in each.selection if child.name == "node")
            result["edges"] = [{"node": project(record, node.selection, select)} for record in page]
        elif each.name == "pageInfo":
            result["pageInfo"] = {
                "hasNextPage": end < len(records),
                "endCursor": str(end) if page else None,
            }
    return result
