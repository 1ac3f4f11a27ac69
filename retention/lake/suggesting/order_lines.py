"""Files whose rows are whole orders with a list of their lines (an API's JSON): which list, and the rows it makes."""
# ruff: noqa: S608 - names are quoted (mapping.quoted)

from dataclasses import replace
from typing import Any

from retention.lake.mapping import quoted
from retention.lake.reading import flatten, sources
from retention.lake.suggesting import synonyms

LIKE = 0.9  # a field of the list is called as shops call an item
LINE = "line"  # what the row of one line is called: its fields are line.sku, line.quantity …


def by_line(con: Any, source: sources.Source) -> tuple[sources.Source, str]:
    """A row for each line of an order; what has no such list, like a view in a log of everything, stays one row.

    Parameters
    ----------
    con : duckdb.DuckDBPyConnection
    source : Source
        As it is read, nested columns and all.

    Returns
    -------
    (Source, str)
        The rows, and the map's ``from`` that makes them. Where no list has a field that is called like an item the
        source as it is, and no SELECT.
    """
    columns = {name: quoted(name) for name in source.columns} | flatten.nested(con, source)
    listed = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns.items())
    best, select = LIKE, ""
    for name, type_ in sources.described(con, f"(SELECT {listed} FROM {source.relation})").items():
        if type_.endswith("[]") and flatten.is_nested(type_.removesuffix("[]")):
            lines = _lines(con, source, columns[name])
            made = f"SELECT unnest({lines}) AS {LINE}, * FROM"
            fields = sources.described(
                con, f"(SELECT unnest({LINE}) FROM ({made} {source.relation}))"
            )
            like = max(
                synonyms.likeness(field, synonyms.words()["events"]["item_id"]) for field in fields
            )
            if like > best:
                best, select = like, made
    if not select or LINE in map(str.casefold, source.columns):
        return source, ""
    relation = f"({select} {source.relation})"
    return replace(
        source, relation=relation, columns=sources.described(con, relation)
    ), f"{select} source"


def _lines(con: Any, source: sources.Source, listed: str) -> str:
    """The list; where some rows have none, as one that keeps them."""
    some = f"len({listed}) > 0"  # an empty list makes no row: what it stands for would be gone, and nothing count it
    found = con.execute(
        f"SELECT 1 FROM {source.relation} WHERE NOT coalesce({some}, false) LIMIT 1"
    ).fetchone()
    return f"CASE WHEN {some} THEN {listed} ELSE [NULL] END" if found else listed
