"""Update keyed tables (customers, items, treatments) by key."""
# ruff: noqa: S608 - SQL is put together from names of the schema

from collections.abc import Collection

from retention.lake import store
from retention.lake.identity import exact
from retention.lake.lake import Lake
from retention.lake.schema import Table


def upsert(lake: Lake, table: Table, named: Collection[str]) -> tuple[int, list[str]]:
    """Upsert the new or changed rows of the table ``staged``.

    If a key occurs several times, the last row wins.

    Parameters
    ----------
    lake : Lake
        Target.
    table : Table
        A keyed table.
    named : collection of str
        Columns that the map fills. Stored values of other columns are kept.

    Returns
    -------
    int
        Rows written.
    list of str
        For customers: ids with new identity keys (`exact.learned`).
    """
    con = lake.duckdb
    keys = ", ".join(table.key)
    last = (
        "SELECT * EXCLUDE (_reason) FROM staged "
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY rowid DESC) = 1"
    )
    known = lake.table(table.name, identity="stored").get_name()
    columns = ", ".join(
        f"new.{name} AS {name}"
        if name in named
        else f"CASE WHEN old.{table.key[0]} IS NULL THEN new.{name} ELSE old.{name} END AS {name}"
        for name in table.names
    )
    on = " AND ".join(f"old.{key} = new.{key}" for key in table.key)
    changed = " OR ".join(f"new.{name} IS DISTINCT FROM old.{name}" for name in sorted(named))
    con.execute(
        f"CREATE OR REPLACE TABLE fresh AS SELECT {columns} FROM ({last}) AS new "
        f'LEFT JOIN "{known}" AS old ON {on} WHERE {changed}'
    )
    accepted = con.execute("SELECT count(*) FROM fresh").fetchall()[0][0]
    learned = exact.learned(con, "fresh", known) if table.name == "customers" else []
    if accepted:
        stored = ", ".join(store.stored_columns(table).values())
        store.upsert(
            lake.root, table, con.sql(f"SELECT {stored} FROM fresh").to_arrow_reader(250_000)
        )
    return accepted, learned
