"""Append live events to the lake.

The rules are those of an import: negative sales become returns, and events that break a cleaning
rule are quarantined. Stored events are compared only where they can be equal, because a micro-batch
must not read ten million rows. Appending the same events again changes nothing, so a batch can be
repeated after a crash.
"""
# ruff: noqa: S608 - SQL consists of quoted names and escaped literals

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from time import perf_counter
from typing import Any

from retention.db import Database
from retention.errors import BadInput
from retention.lake import store
from retention.lake.cleaning import faulty_events
from retention.lake.import_log import ImportReport
from retention.lake.import_writer import EventWriter
from retention.lake.importing import ImportJob
from retention.lake.lake import Lake
from retention.lake.mapping import literal
from retention.lake.quarantine import RULES
from retention.lake.quarantine_reasons import Reason, ReasonCode
from retention.lake.reading.sources import Source
from retention.lake.schema import EVENT_ID, EVENTS, SQL_TYPES
from retention.privacy import erased
from retention.settings import Settings

# An event that is sent again may have another time, such as one that was cut to seconds. Its id is
# compared with those of so long before and after. `retention.connect.inbox` knows ids for longer.
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

    Parameters
    ----------
    lake, database, settings
        Target; the database knows erased customers, whose events are dropped.
    lines : bytes
        NDJSON of checked events; times are microseconds since 1970.
    name : str
        Name of the batch in the quarantine: the same for a repeated batch.
    currency : str
        The shop's currency. Amounts in another one are quarantined. Empty: that of the lake, else
        that of the first event.
    """
    started = perf_counter()
    job = LiveImport(lake, settings, currency, partial(erased.load_erased, database, settings))
    try:
        job.stage_lines(lines, name)
        customers = job.column("SELECT DISTINCT customer_id FROM staged")
        sources = job.column("SELECT DISTINCT source FROM staged WHERE source <> ''")
        codes = job.codes()
        report = job.commit([f"live-{name}"], lambda: perf_counter() - started)
        report = replace(report, rows_read=job.rows)
    finally:
        job.close()
    return LiveReport(report, frozenset(customers), codes, job.currency, frozenset(sources))


class LiveImport(ImportJob):
    """An import of checked events, without files and maps."""

    def __init__(
        self,
        lake: Lake,
        settings: Settings,
        currency: str,
        erased_customers: Callable[[], erased.ErasedCustomers],
    ) -> None:
        super().__init__(
            lake, settings, EVENTS, None, None, None, None, erased_customers=erased_customers
        )
        self.writer: LiveWriter = LiveWriter(lake.root, self.con, EVENTS)
        self.currency = currency.upper()
        self.rows = 0

    def stage_lines(self, lines: bytes, name: str) -> None:
        """Stage NDJSON lines."""
        self.con.register("live_lines", _table(lines))
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
        self.rows = self._scalar("SELECT count(*) FROM staged")
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
        self.good_rows = self._scalar("SELECT count(*) FROM staged")
        self.mended = faulty_events.convert_negative_sales(self.con, "staged")
        fresh = self.writer.stage_new_events(has_source_ids=True)
        # Under the table's lock: no import can bring another currency in between.
        self.currency = self.currency or self._stored_currency()
        if currency := self.currency or self._first_currency(fresh):
            self._set_foreign_amounts_aside(fresh, currency)
        self._clean(fresh, self.writer)
        if self._scalar(f"SELECT count(*) FROM {fresh}"):
            self.writer.write(fresh)
        self.con.execute("DROP TABLE IF EXISTS staged; DROP TABLE IF EXISTS fresh")
        self.staged = False

    def _stored_currency(self) -> str:
        try:
            return self.lake.currency(self.settings).strip().upper()
        except BadInput:  # the lake mixes currencies already
            return ""

    def _first_currency(self, relation: str) -> str:
        found = self.column(
            f"SELECT upper(trim(currency)) FROM {relation} WHERE trim(currency) <> '' LIMIT 1"
        )
        return found[0] if found else ""

    def _set_foreign_amounts_aside(self, fresh: str, currency: str) -> None:
        foreign = f"currency <> '' AND upper(trim(currency)) <> {literal(currency)}"
        number = self._scalar(f"SELECT count(*) FROM {fresh} WHERE {foreign}")
        if not number:
            return
        values = {"column": "currency", "values": currency}
        reason = Reason(ReasonCode.UNKNOWN_VALUE, values).key
        names = ", ".join(self.table.names)
        rows = f"SELECT {literal(reason)} AS reason, {names} FROM {fresh} WHERE {foreign}"
        columns = {column.name: SQL_TYPES[column.kind] for column in self.table.columns}
        self._quarantine(rows, RULES, Source(self.staged_sources[0], rows, columns))
        self.con.execute(f"DELETE FROM {fresh} WHERE {foreign}")
        self._add_reasons({reason: number})
        self.quarantined_events += number


class LiveWriter(EventWriter):
    """Compare new events only with stored ones of about the same time.

    An event without an id that is sent again has the same time.
    """

    def nearby_files(self, relation: str) -> list[str]:
        """Return the files of the same months, and of days around them."""
        delta = store.open_table(self.root, self.table)
        if delta is None:
            return []
        months = {
            f"{moment:%Y-%m}"
            for first, last in self._ranges(relation)
            for moment in (first - SAME_ID_WITHIN, first, last, last + SAME_ID_WITHIN)
        }
        return store.files(delta, months.__contains__)

    def all_files(self) -> list[str]:
        """Return the files of the last months, whose prices are compared."""
        delta = store.open_table(self.root, self.table)
        if delta is None:
            return []
        newest = max((part["month"] for part in delta.partitions()), default="")
        first = _months_before(newest, MONTHS_OF_PRICES - 1)
        return store.files(delta, lambda month: month >= first)

    def _id_presence(self, files: list[str]) -> tuple[bool, bool]:
        return bool(files), bool(files)

    def _comparable_condition(self) -> str:
        conditions = [
            f"occurred_at BETWEEN {_zoned(first - margin)} AND {_zoned(last + margin)}{given}"
            for first, last in self._ranges("staged")
            for margin, given in (
                (timedelta(0), ""),
                (SAME_ID_WITHIN, " AND event_id IS NOT NULL"),
            )
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


def _table(lines: bytes) -> Any:
    """Parse NDJSON into an Arrow table with all columns of an event."""
    import pyarrow as pa
    from pyarrow import json

    types = {"text": pa.string(), "number": pa.float64(), "moment": pa.int64()}
    schema = pa.schema([(column.name, types[column.kind]) for column in EVENTS.columns])
    if not lines:
        return schema.empty_table()
    return json.read_json(
        io.BytesIO(lines),
        read_options=json.ReadOptions(block_size=max(1 << 20, min(len(lines), 1 << 24))),
        parse_options=json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
    )
