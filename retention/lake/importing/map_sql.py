"""Keep the SQL of a map to its one source: no file, no other table, no setting, no endless query.

`check_reads` looks at the syntax tree, and `bind` lets DuckDB look up every name where there is
nothing but the source. `time_limit` ends a query that takes too long.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
# They read a setting or a query, wait, or write DuckDB's log.
_FORBIDDEN = {
    *("getenv", "current_setting", "getvariable", "current_query", "setseed", "write_log"),
    *("sleep_ms", "pg_sleep", "pg_get_viewdef", "pg_get_constraintdef"),
}
MAX_SECONDS = 15 * 60  # of one query; it reads at most `sources.MAX_ROWS_IN_MEMORY` rows
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # of a query in WITH: it can be no path


@cache
def _jail() -> Any:
    import duckdb

    return duckdb.connect(config={"enable_external_access": False, "lock_configuration": True})


def bind(columns: Mapping[str, str], query: str) -> dict[str, str]:
    """Return the columns of a query over the table ``source``, without running it.

    It is bound in a DuckDB without files, network, extensions and other tables, so that a name of
    anything else is an error of DuckDB.
    """
    declared = ", ".join(f"{_quoted(name)} {type_}" for name, type_ in columns.items())
    cursor = _jail().cursor()  # its temporary table is its own
    cursor.execute(f"CREATE TEMP TABLE source ({declared})")
    return {row[0]: row[1] for row in cursor.execute(f"DESCRIBE {query}").fetchall()}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def time_limit(con: Any, where: str) -> Iterator[None]:
    """End the queries of a connection that take too long."""
    expired = threading.Event()

    def stop() -> None:
        expired.set()
        con.interrupt()

    timer = threading.Timer(MAX_SECONDS, stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:  # each caller explains DuckDB's errors in its own words
        if not expired.is_set():
            raise
        text = gettext("{where}: its SQL runs for more than {minutes} minutes; simplify it.")
        raise BadInput(text.format(where=where, minutes=MAX_SECONDS // 60)) from None
    finally:
        timer.cancel()


def check_reads(sql: str, tables: frozenset[str], where: str) -> None:
    """Refuse a SELECT that reads anything but some tables: no file, no other table, no setting.

    DuckDB's own parser says what it reads, so that no difference between two parsers hides it.
    """
    import duckdb

    cursor = _jail().cursor()  # threads must not share a connection
    try:
        answer = cursor.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
        parsed = json.loads(answer[0])
    except (duckdb.Error, RecursionError):
        raise BadInput(nested_too_deeply(where)) from None
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


def nested_too_deeply(where: str) -> str:
    """Return the refusal of SQL that no parser can read."""
    return gettext("{where}: the SQL is nested too deeply; simplify it.").format(where=where)


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
