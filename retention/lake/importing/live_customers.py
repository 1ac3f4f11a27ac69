"""Merge customers that a tracking library identified into the lake."""
# ruff: noqa: S608 - SQL consists of quoted names

import io
from time import perf_counter
from typing import Any

import pyarrow as pa
from pyarrow import json

from retention.db import Database
from retention.lake import identity
from retention.lake.importing import import_log
from retention.lake.importing.import_log import ImportReport
from retention.lake.importing.import_writer import upsert_staged
from retention.lake.lake import Lake
from retention.lake.schema import CUSTOMERS
from retention.lake.storage import delta_store
from retention.privacy import erased

FIELDS = ("email", "phone", "name", "locale", "timezone")


def merge(lake: Lake, database: Database, lines: bytes) -> int:
    """Merge customers; a missing field keeps its stored value.

    Unchanged customers cost no commit. Merging the same lines again changes nothing.

    `lines`: NDJSON of checked customers, oldest first.
    """
    started, con = perf_counter(), lake.duckdb
    with delta_store.locked(lake.root, CUSTOMERS):
        try:
            _stage(lake, lines)
            erased.load_erased(database, database.settings).delete_staged(con)
            rows = con.execute("SELECT count(*) FROM staged").fetchall()[0][0]
            changed, new_keys = upsert_staged(lake, CUSTOMERS, FIELDS)
        finally:
            con.execute("DROP TABLE IF EXISTS staged; DROP TABLE IF EXISTS fresh")
    if changed:
        seconds = round(perf_counter() - started, 3)
        report = ImportReport("customers", rows, 0, changed, rows - changed, 0, seconds=seconds)
        rules = identity.load_rules(database.settings)
        report = import_log.link_customers(lake, rules, report, new_keys)
        import_log.log_import(lake, database, report, "identify")
    return int(changed)


def _stage(lake: Lake, lines: bytes) -> None:
    """Stage one complete row per customer."""
    con = lake.duckdb
    con.register("live_lines", _table(lines))
    known = lake.table("customers", identity="stored").get_name()
    newest = ", ".join(
        f"last({name} ORDER BY place) FILTER ({name} IS NOT NULL) AS {name}" for name in FIELDS
    )
    columns = ", ".join(
        f"coalesce(new.{name}, old.{name}) AS {name}"
        if name in FIELDS
        else f"new.{name}"
        if name == "customer_id"
        else f"old.{name}"
        for name in CUSTOMERS.names
    )
    con.execute(
        f"CREATE OR REPLACE TABLE staged AS SELECT {columns}, NULL::VARCHAR AS _reason FROM "
        f"(SELECT customer_id, {newest} FROM "
        "(SELECT *, row_number() OVER () AS place FROM live_lines) GROUP BY 1) AS new "
        f'LEFT JOIN "{known}" AS old USING (customer_id)'
    )
    con.unregister("live_lines")


def _table(lines: bytes) -> Any:
    schema = pa.schema([(name, pa.string()) for name in ("customer_id", *FIELDS)])
    parse_options = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    return json.read_json(io.BytesIO(lines), parse_options=parse_options)
