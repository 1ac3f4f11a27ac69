"""Import the rows of a page into the lake.

Importing a page twice changes nothing. A record that is older than the stored one changes nothing
either, so that deliveries may arrive in any order.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from retention.connect.contract import Page
from retention.lake.importing.import_files import import_files
from retention.lake.importing.import_log import NO_LISTENER, ImportListener, ImportReport
from retention.lake.schema import TABLES, Table

if TYPE_CHECKING:
    from retention.db import Database
    from retention.lake import Lake

# Attributes: when the shop last changed the record, and when the customer changed a consent.
UPDATED_AT, CONSENT_AT = "shop_updated_at", "shop_consent_at"
SMS_CONSENT_AT = "shop_sms_consent_at"
CHANGED_AT = {"marketing_consent": CONSENT_AT, "sms_consent": SMS_CONSENT_AT}  # by column


def import_page(
    lake: "Lake",
    database: "Database",
    page: Page,
    *,
    name: str,
    listener: ImportListener = NO_LISTENER,
) -> ImportReport | None:
    """Import a page; idempotent.

    `name`: name of the connection, for the import log.
    Raises `BadInput`: the currency differs from the shop's. Nothing was imported.
    """
    table = TABLES[page.table]
    rows = list(page.rows)
    if table.keyed:
        rows = newest_rows(lake, table, rows)
    if not rows:
        return None
    folder = database.settings.home / "scratch" / "pages"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = _write(folder, table, rows, name)
    try:
        # A condition makes an import without a usable row no error: all may be of erased customers.
        return import_files(
            lake,
            database,
            database.settings,
            table.name,
            [str(path)],
            only="true",
            listener=listener,
            restates=False,  # an order's events have the platform's ids
        )
    finally:
        path.unlink(missing_ok=True)


def newest_rows(lake: "Lake", table: Table, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the newest row of each key, without those that the lake has in a newer version.

    Stored attributes that a row does not have are kept, and a stored consent that is newer than the
    whole row.

    `rows`: canonical rows of one page. Their versions are the attributes `UPDATED_AT` or those of
    `CHANGED_AT`.
    """
    key = table.key[0]
    newest: dict[str, dict[str, Any]] = {}
    for row in rows:
        current = newest.get(row[key])
        if current is None or not _is_older(row, current.get("attributes") or {}):
            newest[row[key]] = row
    stored = _stored_versions(lake, table, list(newest))
    result = []
    for identity, row in newest.items():
        known, consents = stored.get(identity, ({}, {}))
        if _is_older(row, known):
            continue
        own = row.get("attributes") or {}
        kept = {
            column: consent
            for column, consent in consents.items()
            if _has_older_consent(row, known, column)
        }
        attributes = {"attributes": {**known, **own}} if known or own else {}
        result.append({**row, **kept, **attributes})
    return result


def shop_customers(lake: "Lake", source: str, earlier: Sequence[str] = ()) -> list[str]:
    """Return the ids of a shop's customers, with orders or without.

    An installation has one shop at a time, so each record with a shop's version is this shop's,
    except for customers with events of ``earlier`` sources.
    """
    events, customers = (
        lake.table(name, identity="stored").get_name() for name in ("events", "customers")
    )
    versions = " OR ".join(
        f"json_exists(attributes, '$.{name}')" for name in (UPDATED_AT, *CHANGED_AT.values())
    )
    rows = lake.duckdb.execute(
        f'SELECT customer_id FROM "{events}" WHERE source = ? '  # noqa: S608
        f'UNION SELECT customer_id FROM "{customers}" WHERE ({versions}) AND customer_id NOT IN '
        f'(SELECT customer_id FROM "{events}" WHERE list_contains(?, source)) ORDER BY 1',
        [source, list(earlier)],
    ).fetchall()
    return [customer_id for (customer_id,) in rows]


def _is_older(row: dict[str, Any], known: dict[str, Any]) -> bool:
    """Return whether a row has a version that is older than the known one."""
    own = row.get("attributes") or {}
    return any(
        name in own and str(own[name]) < str(known.get(name) or "")
        for name in (UPDATED_AT, *CHANGED_AT.values())
    )


def _has_older_consent(row: dict[str, Any], known: dict[str, Any], column: str) -> bool:
    """Return whether a customer's row is older than the stored change of a consent."""
    own, changed_at = row.get("attributes") or {}, CHANGED_AT[column]
    return (
        column in row
        and UPDATED_AT in own
        and changed_at not in own
        and str(own[UPDATED_AT]) < str(known.get(changed_at) or "")
    )


def version(at: datetime) -> str:
    """Return the text of a record's version; texts sort like the times."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _stored_versions(
    lake: "Lake", table: Table, ids: list[str]
) -> dict[str, tuple[dict[str, Any], dict[str, bool | None]]]:
    """Return the attributes of stored rows, and the consents of customers by column."""
    key = table.key[0]
    columns = [column for column in CHANGED_AT if column in table.names]
    relation = lake.table(table.name, identity="stored").get_name()
    stored = lake.duckdb.execute(
        f'SELECT {", ".join([key, "attributes", *columns])} FROM "{relation}" '  # noqa: S608
        f"WHERE list_contains(?, {key}) AND attributes IS NOT NULL",
        [ids],
    ).fetchall()
    result = {}
    for identity, attributes, *consents in stored:
        with suppress(ValueError):
            if isinstance(known := json.loads(attributes), dict):
                result[identity] = known, dict(zip(columns, consents, strict=True))
    return result


def _write(folder: Path, table: Table, rows: Sequence[dict[str, Any]], name: str) -> Path:
    """Write rows to a Parquet file, whose name is unique to its content.

    The quarantine is kept per file name.
    """
    types = {
        "text": pa.string(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "moment": pa.timestamp("us", "UTC"),
        "json": pa.string(),
    }
    kinds = {column.name: column.kind for column in table.columns}
    given = [name for name in kinds if any(name in row for row in rows)]
    schema = pa.schema([(name, types[kinds[name]]) for name in given])
    content = [{name: _stored(row.get(name), kinds[name]) for name in given} for row in rows]
    digest = hashlib.sha256(repr(content).encode()).hexdigest()[:12]
    path = folder / f"{name}-{table.name}-{digest}.parquet"
    pq.write_table(pa.Table.from_pylist(content, schema=schema), path)
    return path


def _stored(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "json":
        return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    if kind == "number" and isinstance(value, Decimal):
        return float(value)
    return value
