"""Unnest nested order lines, and tell line prices from unit prices."""
# ruff: noqa: S608 - names are quoted (mapping.quoted)

from dataclasses import replace
from typing import Any

from retention.lake.mapping import quoted
from retention.lake.reading import sources
from retention.lake.suggesting.profiles import number_sql, similarity, synonyms

MIN_ITEM_SIMILARITY = 0.9  # of a field of the list to the synonyms of an item id
LINE = "line"  # name of the unnested row: its fields are line.sku, line.quantity …
MIN_LINES = 20  # with several pieces
PRICE_GROWTH = 0.75  # between 1 (price of the line) and at most ½ (price per piece)


def unnest_lines(con: Any, source: sources.Source) -> tuple[sources.Source, str]:
    """Unnest orders into one row per order line.

    Rows without lines, such as views in a log of all events, stay one row.

    Parameters
    ----------
    con : duckdb.DuckDBPyConnection
    source : Source
        With nested columns.

    Returns
    -------
    tuple of Source and str
        The rows, and the map's ``from`` that computes them. If no list has a field like an item
        id: the unchanged source and "".
    """
    columns = {name: quoted(name) for name in source.columns} | sources.nested_fields(con, source)
    listed = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns.items())
    types = sources.column_types(con, f"(SELECT {listed} FROM {source.relation})")
    item_words = synonyms()["events"]["item_id"]
    best, best_select = MIN_ITEM_SIMILARITY, ""
    for name, type_ in types.items():
        if type_.endswith("[]") and sources.is_nested(type_.removesuffix("[]")):
            lines = _non_empty_list(con, source, columns[name])
            select = f"SELECT unnest({lines}) AS {LINE}, * FROM"
            fields = sources.column_types(
                con, f"(SELECT unnest({LINE}) FROM ({select} {source.relation}))"
            )
            score = max(similarity(field, item_words) for field in fields)
            if score > best:
                best, best_select = score, select
    if not best_select or LINE in map(str.casefold, source.columns):
        return source, ""
    relation = f"({best_select} {source.relation})"
    unnested = replace(source, relation=relation, columns=sources.column_types(con, relation))
    return unnested, f"{best_select} source"


def _non_empty_list(con: Any, source: sources.Source, column: str) -> str:
    """Return SQL of a list, or [NULL].

    Unnesting an empty list would silently drop the order.
    """
    is_filled = f"len({column}) > 0"
    has_empty = con.execute(
        f"SELECT 1 FROM {source.relation} WHERE NOT coalesce({is_filled}, false) LIMIT 1"
    ).fetchone()
    return f"CASE WHEN {is_filled} THEN {column} ELSE [NULL] END" if has_empty else column


def is_line_price(con: Any, rows: str, item: str, quantity: str, price: str) -> bool:
    """Return whether prices are of whole lines.

    Compares the prices of items sold both alone and in lines of several pieces.

    Parameters
    ----------
    con : duckdb.DuckDBPyConnection
    rows : str
        SQL of the rows, usable after FROM.
    item, quantity, price : str
        Quoted columns; they may be text.
    """
    lines, growth = con.execute(
        f"WITH line AS (SELECT {item} AS item, {number_sql(quantity)} AS pieces, "
        f"{number_sql(price)} AS price FROM {rows}), "
        "alone AS (SELECT item, median(price) AS price FROM line "
        "WHERE pieces = 1 AND price > 0 GROUP BY item) "
        "SELECT count(*), median(line.price / alone.price / pieces) "
        "FROM line JOIN alone USING (item) WHERE pieces > 1 AND line.price > 0"
    ).fetchall()[0]
    return bool(lines >= MIN_LINES and growth > PRICE_GROWTH)
