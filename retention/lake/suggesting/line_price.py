"""Whether the prices of a file of sales are of one piece or of the whole line."""
# ruff: noqa: S608 - names are quoted (mapping.quoted)

from typing import Any

from retention.lake.suggesting.profiles import number

LINES = 20  # fewer of several pieces tell nothing
HALFWAY = 0.75  # between 1 (the line's) and at most ½ (of one)


def of_line(con: Any, rows: str, item: str, quantity: str, price: str) -> bool:
    """Ask of the items that were sold both alone and by several: does the price grow with the pieces?

    Parameters
    ----------
    con : duckdb.DuckDBPyConnection
    rows : str
        A relation.
    item, quantity, price : str
        Its columns, quoted; they may be text.
    """
    lines, growth = con.execute(
        f"WITH line AS (SELECT {item} AS item, {number(quantity)} AS pieces, {number(price)} AS price FROM {rows}), "
        "alone AS (SELECT item, median(price) AS price FROM line WHERE pieces = 1 AND price > 0 GROUP BY item) "
        "SELECT count(*), median(line.price / alone.price / pieces) FROM line JOIN alone USING (item) "
        "WHERE pieces > 1 AND line.price > 0"
    ).fetchall()[0]
    return bool(lines >= LINES and growth > HALFWAY)
