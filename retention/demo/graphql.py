"""Answer GraphQL over plain dicts: enough of the language for the part of Shopify that we use.

A record is a dict with its type in ``__typename``. A list in it is a connection if the query asks
for ``nodes`` or ``edges``. A field that a record lacks is an error, as with a real schema.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import graphql

NO_VARIABLES: Mapping[str, Any] = MappingProxyType({})
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


def parse(text: str, variables: Mapping[str, Any] = NO_VARIABLES) -> tuple[str, list[Field]]:
    """Return whether it is a query or mutation, and what it selects."""
    try:
        operation: Any = graphql.parse(text).definitions[0]
    except graphql.GraphQLSyntaxError as error:
        raise GraphqlError("syntax", f"Parse error: {error.message}") from None
    return operation.operation.value, _fields(operation.selection_set, dict(variables))


def _fields(selected: Any, variables: dict[str, Any]) -> list[Field]:
    fields = []
    for node in selected.selections if selected else ():
        selection = _fields(node.selection_set, variables)
        if node.kind == "inline_fragment":
            fields.append(Field("...", selection=selection, on_type=node.type_condition.name.value))
        else:
            values = {
                each.name.value: graphql.value_from_ast_untyped(each.value, variables)
                for each in node.arguments or ()
            }
            given = {name: each for name, each in values.items() if each is not graphql.Undefined}
            fields.append(Field(node.name.value, given, selection))
    return fields


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
    """Return the selected fields of a record."""
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
            message = f"Field '{each.name}' doesn't exist on type '{kind}'"
            raise GraphqlError("undefinedField", message)
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
