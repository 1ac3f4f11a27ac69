"""Import files: read, map, check, deduplicate, commit once.

Importing the same file twice changes nothing.
"""
# ruff: noqa: S608 - SQL consists of quoted names and escaped literals

import hashlib
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from retention.db import Database
from retention.errors import BadInput
from retention.lake import formats, identity
from retention.lake.cleaning import cleaning_rules, faulty_events
from retention.lake.cleaning.cleaning_rules import load_clean_policy
from retention.lake.importing import (
    import_log,
    map_compiler,
    map_sql,
    mapping,
    quarantine,
    single_currency,
)
from retention.lake.importing.import_log import ImportReport
from retention.lake.importing.import_writer import EventWriter, upsert_staged
from retention.lake.importing.order_states import IS_STATED, LEFT_OUT, OrderStates
from retention.lake.importing.quarantine_reasons import Reason, by_code, by_text
from retention.lake.lake import Lake
from retention.lake.reading import NoRows, sources
from retention.lake.reading.archives import lasting_name
from retention.lake.reading.sources import SourceCheck
from retention.lake.schema import SQL_TYPES, TABLES, Table
from retention.lake.storage import delta_store
from retention.paths import is_url
from retention.privacy import erased
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.text import gettext


def import_files(
    lake: Lake,
    database: Database | None,
    settings: Settings,
    table: str,
    files: list[str],
    map_path: Path | None = None,
    *,
    source: str | None = None,
    query: str | None = None,
    only: str | None = None,
    format_name: str | None = None,
    progress: Progress = silent,
    listener: import_log.ImportListener = import_log.NO_LISTENER,
    check: SourceCheck = sources.accept_any,
    restates: bool = True,
) -> ImportReport:
    """Import files or a database query.

    The import is one commit.

    `lake`, `database`, `settings`: target; without a database there is no import log and no
    customer directory.
    `table`: ``events``, ``customers``, ``items``, ``treatments``, ``relations`` or ``texts``.
    `files`: paths, or one SQLAlchemy URL together with ``query``.
    `map_path`: the map file; without one the source has canonical column names already.
    `source`: value of ``events.source``; overrides the map.
    `only`: SQL condition on the source's columns; other rows are ignored.
    `format_name`: a known export such as ``shopify-orders`` that has a built-in map. Its times are
    in the installation's time zone.
    `listener`: called after events were imported. Installations with campaigns pass
    `retention.campaigns.measurement.redemption_and_bounce_files.LISTENER`.
    `check`: called for each file before its map is applied, and with its number of rows before
    anything is written. An error that it raises ends the import with nothing changed.
    `restates`: whether a later file says anew what became of an order
    (`retention.lake.importing.order_states`).
    Returns: row counts and the outcome per file.
    Raises `BadInput`: with nothing changed: for an unknown table, an unreadable or empty file, a
    map that names a missing column, or a file without a usable row.
    """
    started = perf_counter()
    if table not in TABLES or not TABLES[table].importable:
        known = ", ".join(name for name, each in TABLES.items() if each.importable)
        text = gettext("There is no table {table!r} to import into; use one of {known}.")
        raise BadInput(text.format(table=table, known=known))
    if not files:
        raise BadInput(gettext("Name at least one file to import."))
    files, rules = sources.expand_paths(files), identity.load_rules(settings)
    mapped = formats.mapping_for(TABLES[table], settings.timezone, map_path, format_name)
    own_map = str(map_path.absolute()) if map_path else None
    map_name = f"format:{format_name}" if format_name else own_map
    options = ImportOptions(source, query, only, map_name, check)
    work = ImportJob(lake, settings, TABLES[table], mapped, options, database)
    if restates and work.writer is not None:
        work.track_states(len(files) > 1)
    steps = len(files) + 1
    try:
        for number, file in enumerate(files):
            name = display_name(file)
            progress(number, steps, gettext("reading {file}").format(file=name))
            work.read(file, _row_progress(progress, number, steps, name))
        progress(len(files), steps, gettext("writing {table}").format(table=table))
        report = work.commit(files, lambda: perf_counter() - started)
    finally:
        work.close()
    report = import_log.link_customers(lake, rules, report, work.ids_with_new_keys)
    if database is not None:
        report = replace(report, before=import_log.earlier_import_day(database, report))
        report = import_log.log_import(lake, database, report, display_names(files), listener)
    progress(steps, steps, gettext("done"))
    return report


class NoUsableRow(BadInput):
    """Refuse files without a usable row; ``brief`` does not name the file with the reasons."""

    def __init__(self, message: str, brief: str) -> None:
        super().__init__(message)
        self.brief = brief


def _row_progress(progress: Progress, done: int, total: int, name: str) -> Callable[[int], None]:
    text = gettext("reading {file}: {rows:,} rows")
    return lambda rows: progress(done, total, text.format(file=name, rows=rows))


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What to read, and how, besides the map; see `import_files`.

    ``map_name`` is the map's path, or ``format:NAME``.
    """

    source: str | None = None
    query: str | None = None
    only: str | None = None
    map_name: str | None = None
    check: SourceCheck = sources.accept_any


class ImportJob:
    """State of one import.

    Good rows are in the table ``staged``, bad ones in ``bad_0``, ``bad_1`` … They are in memory.
    They are not TEMP tables because other cursors cannot see those.
    """

    def __init__(
        self,
        lake: Lake,
        settings: Settings,
        table: Table,
        mapped: mapping.Mapping | None = None,
        options: ImportOptions = ImportOptions(),
        database: Database | None = None,
    ) -> None:
        self.lake, self.con, self.settings, self.table = lake, lake.duckdb, settings, table
        self.mapping, self.options = mapped, options
        self.source, self.only = options.source, options.only
        self.read_rows = self.filtered = 0
        map_name = options.map_name
        self.format = map_name[7:] if map_name and map_name.startswith("format:") else None
        self.origin = quarantine.Origin(table.name, uuid.uuid4().hex, map_name, self.source)
        self.policy = load_clean_policy(settings)
        self.bad_tables: list[str] = []
        self.mended: Counter[str] = Counter()
        self.file_reports: list[dict[str, Any]] = []
        self.reasons: Counter[str] = Counter()  # rows by `Reason.key`
        self.left_out: dict[tuple[str, str], list[int]] = {}  # rows and orders by column and value
        self.meant_orders = 0
        self.mapped_columns: set[str] = set()
        self.staged = False
        self.ids_with_new_keys: list[str] = []
        self.staged_sources: list[str] = []
        self.good_rows = self.quarantined_events = 0
        self.writer = None if table.keyed else EventWriter(lake.root, self.con, table)
        self.lock, self.is_locked = ExitStack(), False
        self.currencies: set[str] = set()
        self.non_products: set[str] = set()
        self.erased_customers = partial(erased.load_erased, database, settings)
        self.states: OrderStates | None = None
        self.version: datetime | None = None  # of the states of the file that is read

    # ------------------------------------------------------------ reading

    def track_states(self, has_several_files: bool, *, is_release: bool = False) -> None:
        """Compare the states of orders in these files, and in the lake."""
        assert self.writer is not None
        has_events = delta_store.open_table(self.lake.root, self.table) is not None
        is_tracked = has_several_files or has_events
        self.states = OrderStates(self.con, is_tracked=is_tracked, is_release=is_release)
        self.writer.states = self.states

    def read(self, file: str, progress: Callable[[int], None]) -> None:
        """Stage the rows of a file."""
        with sources.open_source(
            self.con, file, self.mapping, self.options.query, self.only, progress
        ) as source:
            source_rows = None
            if self.mapping and self.mapping.rows:
                source_rows = self._count(source.relation)
            mapped = self.mapping or mapping.canonical_mapping(self.table, list(source.columns))
            if self.format:
                formats.check(self.format, source.columns, source.name)
            source = sources.reshape(self.con, source, mapped)
            self.options.check(file, source, mapped, None)
            mapping.check_mapping(mapped, list(source.columns), source.name)
            source = sources.apply_readings(self.con, source, mapped)
            rows = self.stage_source(source, mapped, progress)
            self.options.check(file, source, mapped, rows)
            total = (rows if source_rows is None else source_rows) + sum(source.rejected.values())
            stamps = import_log.content_hashes(file, mapped, self.source)
            notes = [*source.detected.get("notes", ()), *self._time_zone_notes(source, mapped)]
            seen = {"file": source.name, "rows": total, **source.detected, **stamps}
            self.file_reports.append(seen | ({"notes": notes} if notes else {}))

    def stage_source(
        self,
        source: sources.Source,
        mapped: mapping.Mapping,
        progress: Callable[[int], None] = lambda rows: None,
        newest: datetime | None = None,
    ) -> int:
        """Stage a source's rows in pieces."""
        total = 0
        mapped = map_compiler.with_unlisted(self.con, source, mapped, self.only)
        parts = list(sources.pieces(self.con, source))
        if len(parts) > 1 and self.states and not self.states.is_release:
            times = [self._newest_order(one, mapped) for one, _ in parts]
            newest = max(filter(None, times), default=None)
            self.states.is_tracked |= "stated_at" in mapped.columns  # an order in several pieces
        for piece, counted in parts:
            rows = counted
            if self.only:
                rows = self._count(f"{piece.relation} WHERE {self.only}")
            total += rows
            if rows:
                rule = self.policy.bookkeeping
                bookkeeping_titles = rule.title if rule.is_active else None
                staging = map_compiler.compile_staging(
                    piece, mapped, self.only, self.source, bookkeeping_titles
                )
                self.mapped_columns.update(staging.columns)
                with map_sql.time_limit(self.con, mapped.name):
                    if mapped.leave_out:
                        self._count_left_out(piece, mapped)
                    self._stage(piece, staging, rows, newest)
                progress(total)
        if not total and not source.rejected and not self.only:
            if mapped.rows:
                text = gettext("{name} has no rows that the map's `from` can use.")
            else:
                text = gettext("{name} has no rows.")
            raise NoRows(text.format(name=source.name))
        if source.rejected:
            self._quarantine("SELECT * FROM rejected_lines", quarantine.LINE, source)
            self.reasons.update(source.rejected)
            self.read_rows += sum(source.rejected.values())
        return total

    def _newest_order(self, piece: sources.Source, mapped: mapping.Mapping) -> datetime | None:
        """Return the time of a piece's newest order."""
        staging = map_compiler.compile_staging(piece, mapped, self.only, self.source)
        sql = (
            f"SELECT max(occurred_at) FROM ({staging.all_rows_sql}) WHERE {IS_STATED} "
            f"AND (_reason IS NULL OR starts_with(_reason, '{LEFT_OUT}'))"
        )
        with map_sql.time_limit(self.con, mapped.name):
            at: datetime | None = self.con.execute(sql).fetchall()[0][0]
        return at

    def _stage(
        self,
        source: sources.Source,
        staging: map_compiler.Staging,
        rows: int,
        newest: datetime | None,
    ) -> None:
        import duckdb

        before = self.staged_rows
        verb = "INSERT INTO staged" if self.staged else "CREATE OR REPLACE TABLE staged AS"
        try:
            self.con.execute(f"{verb} {staging.all_rows_sql}")
        except duckdb.Error as error:
            first = str(error).strip().splitlines()[0]
            text = gettext("{name} cannot be read: {first}")
            raise BadInput(text.format(name=source.name, first=first)) from None
        self.staged = True
        if staging.has_left_out and self.states:
            self.states.take_left_out()
            self.erased_customers().delete_staged(self.con, "left_out")
        elif staging.has_left_out:
            self.con.execute(f"DELETE FROM staged WHERE starts_with(_reason, '{LEFT_OUT}')")
        sql = (
            "SELECT _reason, count(*) FROM staged WHERE _reason IS NOT NULL "
            "GROUP BY 1 ORDER BY 2 DESC"
        )
        reasons = dict(self.con.execute(sql).fetchall())
        self.version = self.states.date_states(newest) if self.states else None
        if reasons:
            self._quarantine(staging.bad_rows_sql, quarantine.MAP, source)
            if self.states:
                self.states.hold("staged WHERE _reason IS NOT NULL")
            self.con.execute("DELETE FROM staged WHERE _reason IS NOT NULL")
        self.erased_customers().delete_staged(self.con)
        good = self.staged_rows
        self.reasons.update(reasons)
        self.read_rows += rows
        # Rows that the map's filter excludes, and rows of erased customers.
        self.filtered += rows - (good - before) - sum(reasons.values())
        self.staged_sources.append(source.name)
        if self.writer is not None and good >= sources.MAX_ROWS_IN_MEMORY:
            self._flush()

    def _count_left_out(self, piece: sources.Source, mapped: mapping.Mapping) -> None:
        """Count the rows and orders that the map leaves out.

        An order that several pieces of a large file share counts in each.
        """
        counts = self.con.execute(map_compiler.left_out_sql(piece, mapped, self.only)).fetchall()
        for column, value, rows, orders in counts[:-1]:
            sums = self.left_out.setdefault((column, value), [0, 0])
            sums[0] += rows
            sums[1] += orders
        self.meant_orders += counts[-1][3]

    def _quarantine(self, rows: str, stage: str, source: sources.Source) -> None:
        name = f"bad_{len(self.bad_tables)}"
        readings = source.readings.items()
        reading = {"columns": source.columns, "as": {name: asdict(how) for name, how in readings}}
        if self.states:
            reading["version"] = self.version and self.version.isoformat()
        rows_with_origin = self.origin.sql(rows, stage, source.name, reading)
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {rows_with_origin}")
        self.bad_tables.append(name)

    # ------------------------------------------------------------ writing

    def commit(
        self,
        files: list[str],
        seconds: Callable[[], float],
        released_from: tuple[Path, str] | None = None,
    ) -> ImportReport:
        """Write the quarantine and commit new rows.

        An import writes its quarantine before the commit, a release after it. So a kill in between
        loses no bad row.

        `released_from`: for a release: the rows' quarantine file, and SQL of the rows that stay
        there. After a kill in between, the next release finds the committed rows to be duplicates.
        """
        self._lock_table()
        if self.writer is not None:
            self._flush()
        staged = self.good_rows if self.writer else self.staged_rows
        if released_from is None:
            tells_refunds = self.states is not None and self.states.can_tell_refunds
            is_empty = not staged and self.read_rows > 0 and not self.only
            path = self._write_quarantine(files, refused=is_empty and not tells_refunds)
        accepted = 0
        if self.writer is not None:
            accepted = self.writer.commit()
        elif staged:
            lake = self.lake
            accepted, self.ids_with_new_keys = upsert_staged(lake, self.table, self.mapped_columns)
        cleaning_rules.mark_non_products(self.lake, self.non_products)
        self._unlock_table()
        if released_from is not None:
            parts = [f"({released_from[1]})", *self.bad_tables]
            path = self._write_bad(released_from[0], parts)
        left_out = tuple(
            {"column": column, "value": value, "rows": rows, "orders": orders}
            | {"of_orders": self.meant_orders}
            for (column, value), (rows, orders) in self.left_out.items()
        )
        return ImportReport(
            self.table.name,
            self.read_rows,
            self.filtered,
            accepted,
            staged - accepted - self.quarantined_events,
            self.reasons.total(),
            by_code(self.parsed_reasons),
            path,
            round(seconds(), 3),
            tuple(self.file_reports),
            by_text(self.parsed_reasons),
            dict(self.mended),
            self.writer.repeated_events if self.writer else 0,
            timezone=self._undeclared_zone(),
            orders_superseded=self.states.superseded_orders if self.states else 0,
            means=self.mapping.means if self.mapping else None,
            left_out=left_out,
        )

    def _write_quarantine(self, files: list[str], *, refused: bool) -> str | None:
        """Write the quarantine file of these sources.

        A refused import must not replace the file of an earlier successful one. It writes a file of
        its own if no such file exists. A later successful import deletes it.
        """
        file = self._quarantine_path(files)
        attempt = file.with_stem(f"{file.stem}-refused")
        if refused:
            is_known = file in quarantine.files(self.settings)
            path = None if is_known else self._write_bad(attempt)
            raise NoUsableRow(self._refusal_text(files, path), self._refusal_text(files, None))
        quarantine.remove(self.settings, attempt)
        return self._write_bad(file)

    def _write_bad(self, file: Path, parts: list[str] | None = None) -> str | None:
        path = quarantine.write(self.settings, self.con, parts or self.bad_tables, file)
        if path:
            quarantine.share_map(self.settings, self.origin.map_name)
        return path

    @property
    def parsed_reasons(self) -> dict[Reason, int]:
        """Quarantined rows by reason."""
        return {Reason.parse(key): rows for key, rows in self.reasons.items()}

    def _undeclared_zone(self) -> str:
        zone = self.mapping.timezone if self.mapping and self.table.name == "events" else "UTC"
        return "" if "timezone" in self.settings.model_fields_set or zone == "UTC" else zone

    def _time_zone_notes(self, source: sources.Source, mapped: mapping.Mapping) -> list[str]:
        """Note times without a zone, read as UTC."""
        zone = self.settings.timezone
        naive = [name for name in source.naive if name.casefold() in mapped.unzoned_columns]
        if mapped.declares_timezone or zone == "UTC" or not naive:
            return []
        again = gettext(" and import the file again") if self.table.name in TABLES else ""
        if self.table.name == "events":
            again = gettext(
                " and begin a home anew: in this one these events would count twice, or stay as "
                "they are"
            )
        text = gettext(
            "{columns}: neither file nor map names a time zone, so times are read as UTC, and "
            'the shop\'s clock is {zone}. If they are by it, write timezone = "{zone}" into '
            "the map{again}."
        )
        return [text.format(columns=", ".join(naive), zone=zone, again=again)]

    def _lock_table(self) -> None:
        """Lock the table until the commit.

        Customers erased during the reading are dropped here. A later erasure waits for the lock.
        """
        if not self.is_locked:
            self.lock.enter_context(delta_store.locked(self.lake.root, self.table))
            self.is_locked = True
            self.filtered += self.erased_customers().delete_staged(self.con) if self.staged else 0
            for name in self.states.left_out if self.states else []:
                self.erased_customers().delete_staged(self.con, name)

    def _unlock_table(self) -> None:
        self.lock.close()
        self.is_locked = False

    def _flush(self) -> None:
        """Write the staged new events to uncommitted files."""
        if not self.staged or self.writer is None:
            return
        self._lock_table()
        good = self.staged_rows
        if not good:
            return
        self.good_rows += good
        self.mended.update(faulty_events.convert_negative_sales(self.con, "staged"))
        fresh = self.writer.stage_new_events("event_id" in self.mapped_columns)
        self.writer.note_states()
        self._clean(fresh, self.writer)
        if self._count(fresh):
            self.currencies |= single_currency.event_currencies(self.con, fresh)
            single_currency.check_single_currency(self.lake, self.settings, self.currencies)
            self.writer.write(fresh)
            self.non_products |= cleaning_rules.find_non_products(self.lake, fresh, self.policy)
        self.con.execute("DROP TABLE IF EXISTS staged; DROP TABLE IF EXISTS fresh")
        self.staged, self.staged_sources = False, []

    def _clean(self, fresh: str, writer: EventWriter) -> None:
        """Quarantine new events that break a cleaning rule."""
        if fresh != "staged":
            faulty_events.find_similar(self.con, fresh)
        customers = self.lake.table("customers").get_name()
        faulty = faulty_events.find_faulty(
            self.con,
            fresh,
            self.policy,
            nearby_files=writer.nearby_files(fresh),
            stored_files=writer.all_files(),
            known_customers=f'SELECT email, customer_id FROM "{customers}"',
        )
        if faulty:
            joined = f"{fresh} AS row JOIN set_aside ON row.rowid = place"
            self._quarantine_events("reason", joined)
            if self.states:
                self.states.hold(f"{fresh} JOIN set_aside ON {fresh}.rowid = place")
            self.con.execute(f"DELETE FROM {fresh} WHERE rowid IN (SELECT place FROM set_aside)")
            self.reasons.update(faulty)
        faulty_events.drop_faulty(self.con)
        self.quarantined_events += sum(faulty.values())

    def _quarantine_events(self, reason: str, relation: str) -> None:
        """Quarantine events by a rule. ``reason`` is SQL."""
        rows = f"SELECT {reason} AS reason, {', '.join(self.table.names)} FROM {relation}"
        columns = {column.name: SQL_TYPES[column.kind] for column in self.table.columns}
        name = ", ".join(dict.fromkeys(self.staged_sources))
        self._quarantine(rows, quarantine.RULES, sources.Source(name, rows, columns))

    def _quarantine_path(self, files: list[str]) -> Path:
        parts = [self.table.name, *map(lasting_name, files)]
        parts += [self.only] if self.only else []
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
        return quarantine.folder(self.settings) / f"{self.table.name}-{digest}.parquet"

    def _refusal_text(self, files: list[str], path: str | None) -> str:
        names = display_names(files)
        if not self.reasons and self.left_out:
            text = gettext(
                "Each of the {rows:,} rows of {files} is left out: {values}. Nothing was imported. "
                "Import the export of the sales first, then this file: retention import events "
                "FILE --map MAP."
            )
            left_out = self.left_out
            values = [name if value == mapping.ANY_VALUE else value for name, value in left_out]
            return text.format(rows=self.read_rows, files=names, values=", ".join(values))
        if not self.reasons:
            text = gettext(
                "None of the {rows:,} rows of {files} is meant by the map's `where`; nothing was "
                "imported."
            )
            return text.format(rows=self.read_rows, files=names)
        ((key, number),) = self.reasons.most_common(1)
        where = ""
        if path:
            where = gettext(" (the rows with their reasons are in {path})").format(path=path)
        text = gettext(
            "No row of {files} can be used: {reason} in {number:,} of {rows:,}; mend the map or "
            "the file{where}; nothing was imported."
        )
        facts = {"files": names, "number": number, "rows": self.read_rows, "where": where}
        return text.format(reason=Reason.parse(key).text, **facts)

    def _count(self, relation: str) -> int:
        return self.con.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0]

    @property
    def staged_rows(self) -> int:
        """Number of rows in the table ``staged``."""
        return self._count("staged") if self.staged else 0

    def close(self) -> None:
        """Drop uncommitted data and release the lock."""
        if self.writer is not None:
            self.writer.abandon()
        if self.states:
            self.states.close()
        self._unlock_table()
        for name in ("staged", "fresh", *self.bad_tables):
            self.con.execute(f"DROP TABLE IF EXISTS {name}")


def display_name(file: str) -> str:
    """Return a source's name without a database password."""
    return "the database" if is_url(file) else Path(file).name


def display_names(files: list[str]) -> str:
    """Return the names of the imported files, comma-separated."""
    return ", ".join(display_name(file) for file in files)
