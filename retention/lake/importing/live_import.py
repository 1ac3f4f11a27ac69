"""Append live events to the lake.

The rules are those of an import: negative sales become returns, and events that break a cleaning
rule are quarantined. Stored events are compared only where they can be equal, because a micro-batch
must not read ten million rows. Appending the same events again changes nothing, so a batch can be
repeated after a crash.
"""

# ruff: noqa: S608 - SQL consists of quoted names and escaped literals

import io
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import pyarrow as pa
from pyarrow import json

from retention.db import Database
from retention.errors import BadInput
from retention.lake import identity
from retention.lake.cleaning import faulty_events
from retention.lake.importing import import_log
from retention.lake.importing.import_files import ImportJob
from retention.lake.importing.import_log import ImportReport
from retention.lake.importing.import_writer import EventWriter, upsert_staged
from retention.lake.importing.mapping import literal
from retention.lake.importing.quarantine_reasons import Reason, ReasonCode
from retention.lake.lake import Lake
from retention.lake.schema import CUSTOMERS, EVENT_ID, EVENTS, TEXTS
from retention.lake.storage import delta_store
from retention.privacy import erased
from retention.settings import Settings

# An event that is sent again may have another time, such as one that was cut to seconds. Its id is
# compared with those of so long before and after. `retention.connect.live.inbox` knows ids for
# longer.
SAME_ID_WITHIN = timedelta(days=1)
MONTHS_OF_PRICES = 3  # months of stored prices that a new price is compared with


@dataclass(frozen=True, slots=True)
class CodeReport:
    """A ``coupon_redeem`` event with a code."""

    event_id: str
    customer_id: str
    order_id: str | None
    at: datetime
    code: str


@dataclass(frozen=True, slots=True)
class LiveReport:
    """Result of one append.

    ``customers`` are those of all events, also of events that were in the lake before: after a
    crash they were appended but not scored. ``currency`` is the shop's, empty if it was not known
    before these events. ``sources`` are those of all events.
    """

    report: ImportReport
    customers: frozenset[str]
    codes: tuple[CodeReport, ...]
    currency: str
    sources: frozenset[str] = frozenset()


def append(
    lake: Lake,
    database: Database | None,
    settings: Settings,
    lines: bytes,
    *,
    name: str,
    currency: str = "",
) -> LiveReport:
    """Append events in one commit.

    `lines`: NDJSON of checked events; times are microseconds since 1970.
    `currency`: the shop's currency. Amounts in another one are quarantined. Empty: that of the
    lake, else that of the first event.
    """
    started = perf_counter()
    job = LiveImport(lake, settings, currency, database)
    try:
        job.stage_lines(lines, name)
        customers = job.column("SELECT DISTINCT customer_id FROM staged")
        sources = job.column("SELECT DISTINCT source FROM staged WHERE source <> ''")
        codes = job.codes()
        report = job.commit([f"live-{name}"], lambda: perf_counter() - started)
        report = replace(report, rows_read=job.rows)
    finally:
        job.close()
    merge_texts(lake, database, settings, lines)
    return LiveReport(report, frozenset(customers), codes, job.currency, frozenset(sources))


class LiveImport(ImportJob):
    """An import of checked events, without files and maps."""

    def __init__(
        self, lake: Lake, settings: Settings, currency: str, database: Database | None
    ) -> None:
        super().__init__(lake, settings, EVENTS, database=database)
        self.writer: LiveWriter = LiveWriter(lake.root, self.con, EVENTS)
        self.currency = currency.upper()
        self.rows = 0

    def stage_lines(self, lines: bytes, name: str) -> None:
        """Stage NDJSON lines."""
        kinds = {"text": pa.string(), "number": pa.float64(), "moment": pa.int64()}
        types = {column.name: kinds[column.kind] for column in EVENTS.columns}
        self.con.register("live_lines", _parse(lines, types))
        columns = ", ".join(
            f"make_timestamp({column.name}) AS {column.name}"
            if column.kind == "moment"
            else column.name
            for column in EVENTS.columns
        )
        self.con.execute(
            f"CREATE OR REPLACE TABLE staged AS SELECT {columns}, NULL::VARCHAR AS _reason "
            "FROM live_lines"
        )
        self.con.unregister("live_lines")
        self.staged, self.staged_sources = True, [name]
        self.rows = self.staged_rows
        self.filtered = self.erased_customers().delete_staged(self.con)

    def column(self, sql: str) -> list[str]:
        """Return the only column of a query."""
        return [value for (value,) in self.con.execute(sql).fetchall()]

    def codes(self) -> tuple[CodeReport, ...]:
        """Return the staged reports of used codes, earliest first."""
        rows = self.con.execute(
            f"SELECT {EVENT_ID}, customer_id, order_id, occurred_at, query FROM staged "
            "WHERE event_type = 'coupon_redeem' AND query IS NOT NULL ORDER BY occurred_at, 1"
        ).fetchall()
        return tuple(
            CodeReport(event_id, customer, order, at.replace(tzinfo=UTC), code)
            for event_id, customer, order, at, code in rows
        )

    def _flush(self) -> None:
        """Write the staged new events to uncommitted files."""
        if not self.staged:
            return
        self._lock_table()
        self.good_rows = self.staged_rows
        self.mended.update(faulty_events.convert_negative_sales(self.con, "staged"))
        fresh = self.writer.stage_new_events(has_source_ids=True)
        # Under the table's lock: no import can bring another currency in between.
        with suppress(BadInput):  # the lake mixes currencies already
            self.currency = self.currency or self.lake.currency(self.settings).strip().upper()
        first = f"SELECT upper(trim(currency)) FROM {fresh} WHERE trim(currency) <> '' LIMIT 1"
        for currency in [self.currency] if self.currency else self.column(first):
            self._set_foreign_amounts_aside(fresh, currency)
        self._clean(fresh, self.writer)
        if self._count(fresh):
            self.writer.write(fresh)
        self.con.execute("DROP TABLE IF EXISTS staged; DROP TABLE IF EXISTS fresh")
        self.staged = False

    def _set_foreign_amounts_aside(self, fresh: str, currency: str) -> None:
        foreign = f"{fresh} WHERE currency <> '' AND upper(trim(currency)) <> {literal(currency)}"
        number = self._count(foreign)
        if not number:
            return
        values = {"column": "currency", "values": currency}
        reason = Reason(ReasonCode.UNKNOWN_VALUE, values).key
        self._quarantine_events(literal(reason), foreign)
        self.con.execute(f"DELETE FROM {foreign}")
        self.reasons[reason] += number
        self.quarantined_events += number


class LiveWriter(EventWriter):
    """Compare new events only with stored ones of about the same time.

    An event without an id that is sent again has the same time.
    """

    def nearby_files(self, relation: str) -> list[str]:
        """Return the files of the same months, and of days around them."""
        months = {
            f"{moment:%Y-%m}"
            for first, last in self._ranges(relation)
            for moment in (first - SAME_ID_WITHIN, first, last, last + SAME_ID_WITHIN)
        }
        return delta_store.files(_table_of_events(self.root), months.__contains__)

    def all_files(self) -> list[str]:
        """Return the files of the last months, whose prices are compared."""
        delta = _table_of_events(self.root)
        if delta is None:
            return []
        newest = max((part["month"] for part in delta.partitions()), default="")
        first = _months_before(newest, MONTHS_OF_PRICES - 1)
        return delta_store.files(delta, lambda month: month >= first)

    def _id_presence(self, files: list[str]) -> tuple[bool, bool]:
        return bool(files), bool(files)

    def _comparable_condition(self) -> str:
        conditions = [
            f"occurred_at BETWEEN {_zoned(first - margin)} AND {_zoned(last + margin)}{given}"
            for first, last in self._ranges("staged")
            for margin, given in ((timedelta(0), ""), (SAME_ID_WITHIN, " AND event_id IS NOT NULL"))
        ]
        return f"WHERE {' OR '.join(conditions)}" if conditions else "WHERE false"

    def _ranges(self, relation: str) -> list[tuple[datetime, datetime]]:
        """Return the first and the last time of each month."""
        ranges: list[tuple[datetime, datetime]] = self.con.execute(
            f"SELECT min(occurred_at), max(occurred_at) FROM {relation} "
            "GROUP BY date_trunc('month', occurred_at)"
        ).fetchall()
        return ranges


def _zoned(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.isoformat(sep=' ')}+00'"


def _months_before(month: str, number: int) -> str:
    if not month:
        return ""
    year, place = (int(part) for part in month.split("-"))
    total = 12 * year + place - 1 - number
    return f"{total // 12:04}-{total % 12 + 1:02}"


def _parse(lines: bytes, types: dict[str, pa.DataType]) -> Any:
    """Parse NDJSON into an Arrow table with these columns."""
    schema = pa.schema(types)
    if not lines:
        return schema.empty_table()
    return json.read_json(
        io.BytesIO(lines),
        read_options=json.ReadOptions(block_size=max(1 << 20, min(len(lines), 1 << 24))),
        parse_options=json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )


MAX_FILES = 200
SMALL_PARTITION = 4  # files; a month with fewer is left alone
LOG_RETENTION = "interval 1 days"  # commits of live events would fill the log's folder


def compact_events(root: delta_store.Root) -> bool:
    """Compact the months with many files if they have `MAX_FILES` or more together.

    Many months with few files each are no reason: there would be one at every call.

    The caller holds no lock.
    """
    delta = _table_of_events(root)
    if delta is None or sum(_crowded_months(delta).values()) < MAX_FILES:
        return False
    how = {"writer_properties": delta_store.writer_properties()}
    with delta_store.locked(root, EVENTS):
        for month in _crowded_months(_table_of_events(root)):
            files = [("month", "=", month)]
            _table_of_events(root).optimize.compact(partition_filters=files, **how)
        _shorten_log(root)
    return True


def _table_of_events(root: delta_store.Root) -> Any:
    """Return the newest version of the events; None before the first."""
    return delta_store.open_table(root, EVENTS)


def _crowded_months(delta: Any) -> dict[str, int]:
    """Return the number of files of each month with more than `SMALL_PARTITION`."""
    actions = pa.table(delta.get_add_actions(flatten=True))
    months = Counter(actions["partition.month"].to_pylist())
    return {month: files for month, files in months.items() if files > SMALL_PARTITION}


def _shorten_log(root: delta_store.Root) -> None:
    """Write a checkpoint and drop commits that no reader needs any more."""
    delta = _table_of_events(root)
    if delta.metadata().configuration.get("delta.logRetentionDuration") != LOG_RETENTION:
        delta.alter.set_table_properties({"delta.logRetentionDuration": LOG_RETENTION})
        delta = _table_of_events(root)
    delta.create_checkpoint()
    delta.cleanup_metadata()


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


TEXT_KIND_OF = {"review": "review", "support": "ticket"}  # by the type of event


def merge_texts(lake: Lake, database: Database | None, settings: Settings, lines: bytes) -> int:
    """Add the texts of reviews and of contacts with support; return how many were new.

    `lines`: NDJSON of checked events.
    """
    if b'"text":' not in lines:
        return 0
    con = lake.duckdb
    types = dict.fromkeys(
        ("event_id", "customer_id", "event_type", "text", "language"), pa.string()
    )
    types |= {"occurred_at": pa.int64(), "available_at": pa.int64(), "rating": pa.float64()}
    kind = " ".join(f"WHEN '{event}' THEN '{kind}'" for event, kind in TEXT_KIND_OF.items())
    with delta_store.locked(lake.root, TEXTS):
        con.register("live_lines", _parse(lines, types))
        try:
            con.execute(
                "CREATE OR REPLACE TABLE staged AS SELECT event_id AS text_id, customer_id, "
                "make_timestamp(occurred_at) AS occurred_at, "
                "make_timestamp(available_at) AS available_at, "
                f"CASE event_type {kind} END AS kind, trim(text) AS text, language, "
                "CASE WHEN rating BETWEEN 1 AND 5 THEN rating END AS stars, "
                "NULL::VARCHAR AS _reason FROM live_lines "
                "WHERE kind IS NOT NULL AND trim(text) <> ''"
            )
            erased.load_erased(database, settings).delete_staged(con)
            return upsert_staged(lake, TEXTS, TEXTS.names)[0]
        finally:
            con.unregister("live_lines")
            con.execute("DROP TABLE IF EXISTS staged; DROP TABLE IF EXISTS fresh")


def _stage(lake: Lake, lines: bytes) -> None:
    """Stage one complete row per customer."""
    con = lake.duckdb
    con.register("live_lines", _parse(lines, dict.fromkeys(("customer_id", *FIELDS), pa.string())))
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
