"""Check that SQL in a map reads its source only: no file, no other table, no setting.

DuckDB's own parser says what a statement reads, so that no difference between two parsers hides it.
"""

import json
import re
from functools import cache
from typing import Any

from retention.errors import BadInput
from retention.text import gettext

_SHAPES = {"EMPTY", "SUBQUERY", "JOIN", "EXPRESSION_LIST", "PIVOT"}  # of tables that read nothing
_FUNCTIONS = {  # table functions that read nothing
    "unnest",
    "range",
    "generate_series",
    "generate_subscripts",
    "json_each",
    "json_tree",
    "repeat",
}
_FORBIDDEN = {"getenv", "current_setting", "getvariable"}
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # of a query in WITH: it can be no path


@cache
def _parser() -> Any:
    import duckdb

    return duckdb.connect(config={"enable_external_access": False, "lock_configuration": True})


def check(sql: str, tables: frozenset[str], where: str) -> None:
    """Refuse a SELECT that reads anything but some tables."""
    # A cursor, because threads must not share a connection.
    answer = _parser().cursor().execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
    parsed = json.loads(answer[0])
    if parsed["error"] or len(parsed["statements"]) != 1:
        text = gettext("{where}: the SQL is not one SELECT: {reason}")
        raise BadInput(text.format(where=where, reason=parsed.get("error_message") or ";"))
    waiting: list[tuple[Any, frozenset[str]]] = [(parsed["statements"], tables)]
    while waiting:
        node, known = waiting.pop()
        if isinstance(node, list):
            waiting += [(each, known) for each in node]
        elif isinstance(node, dict):
            if read := _outside(node, known):
                raise BadInput(_refusal(where, read))
            for entry in (node.get("cte_map") or {}).get("map") or []:
                name = entry["key"]
                if not _PLAIN_NAME.fullmatch(name) or name.lower() in tables:
                    raise BadInput(_refusal(where, name))
                waiting.append((entry["value"], known))  # it sees those before it, not itself
                known |= {name.lower()}
            for key, each in node.items():
                if key == "right" and node.get("type") == "RECURSIVE_CTE_NODE":
                    waiting.append((each, known | {node["cte_name"].lower()}))
                elif key != "cte_map":
                    waiting.append((each, known))


def _refusal(where: str, read: str) -> str:
    return gettext(
        "{where}: the SQL reads {read}; a map may read the columns of its file "
        "only, and `from` the table source."
    ).format(where=where, read=read)


def _outside(node: dict[str, Any], known: frozenset[str]) -> str:
    """Return what a node of the syntax tree reads that it must not, or ""."""
    kind, name = node.get("type"), str(node.get("function_name", "")).casefold()
    if name in _FORBIDDEN:
        return name
    if "sample" not in node or "alias" not in node:  # no table
        return ""
    if kind == "BASE_TABLE":
        table, path = str(node["table_name"]), [node["catalog_name"], node["schema_name"]]
        # DuckDB compares ASCII letters only; "ſ" of another name must not become an "s".
        is_known = table.isascii() and table.lower() in known
        return "" if is_known and not any(path) else table
    if kind == "TABLE_FUNCTION":
        function = str(node["function"].get("function_name", "")).casefold()
        return "" if function in _FUNCTIONS else function or str(kind)
    return "" if kind in _SHAPES else str(kind)
