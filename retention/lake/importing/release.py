"""Retry quarantined rows with today's map and rules."""

# ruff: noqa: S608 - SQL consists of quoted names and escaped literals
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from retention.db import Database
from retention.errors import BadInput
from retention.lake import formats, identity
from retention.lake.importing import import_log, mapping, quarantine
from retention.lake.importing.import_files import ImportJob
from retention.lake.importing.mapping import literal, quoted
from retention.lake.importing.quarantine_reasons import Reason, by_code, by_text
from retention.lake.lake import Lake
from retention.lake.reading.column_formats import ColumnReading
from retention.lake.reading.sources import Source
from retention.lake.schema import TABLES
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.text import gettext

_KEYS = ("_table", "_stage", "_file", "_import", "_map", "_origin", "_reading")


@dataclass(frozen=True, slots=True)
class ReleaseReport:
    """Count the outcomes of the retried rows.

    ``rows_tried`` is the sum of accepted, duplicate, filtered and kept rows.
    """

    rows_tried: int = 0
    rows_accepted: int = 0
    rows_duplicate: int = 0
    rows_filtered: int = 0
    rows_kept: int = 0
    quarantine: dict[str, int] = field(default_factory=dict)
    """Rows in quarantine afterwards, by code."""
    quarantine_text: dict[str, int] = field(default_factory=dict)
    """Rows in quarantine afterwards, by sentence."""
    notes: tuple[str, ...] = ()
    """Reasons why some rows could not be retried."""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``--json``."""
        return asdict(self) | {"notes": [*self.notes]}


def release(
    lake: Lake,
    database: Database | None,
    settings: Settings,
    *,
    reason: str | None = None,
    map_path: Path | None = None,
    progress: Progress = silent,
    listener: import_log.ImportListener = import_log.NO_LISTENER,
) -> ReleaseReport:
    """Retry quarantined rows and import those that pass.

    Each file is one commit. A second call changes nothing.

    `lake`, `database`, `settings`: target; without a database there is no import log.
    `reason`: retry only rows with this reason; see `quarantine.matching_reasons`.
    """
    if map_path is not None:
        if not map_path.is_file():
            text = gettext("The map {map_path} cannot be read: there is no such file.")
            raise BadInput(text.format(map_path=map_path))
        mapping.read_sections(map_path)
    started, con = perf_counter(), lake.duckdb
    reasons = quarantine.matching_reasons(con, settings, reason) if reason is not None else None
    reports: list[ReleaseReport] = []
    paths = quarantine.files(settings)
    for number, path in enumerate(paths):
        progress(number, len(paths), gettext("trying {file}").format(file=path.name))
        reports.append(_retry_file(lake, database, settings, path, reasons, map_path, listener))
    progress(len(paths), len(paths), gettext("done"))
    left = quarantine.reason_counts(con, settings)
    names = ("rows_tried", "rows_accepted", "rows_duplicate", "rows_filtered")
    sums = [sum(getattr(report, name) for report in reports) for name in names]
    tried, accepted, duplicate, filtered = sums
    return ReleaseReport(
        *(tried, accepted, duplicate, filtered, tried - accepted - duplicate - filtered),
        *(by_code(left), by_text(left)),
        tuple(dict.fromkeys(note for report in reports for note in report.notes)),
        round(perf_counter() - started, 3),
    )


def _retry_file(
    lake: Lake,
    database: Database | None,
    settings: Settings,
    path: Path,
    reasons: list[Reason] | None,
    map_path: Path | None,
    listener: import_log.ImportListener,
) -> ReleaseReport:
    """Retry one file; report its rows and notes alone."""
    con, rows = lake.duckdb, f"read_parquet({literal(path)})"
    con.execute(
        f"CREATE OR REPLACE TABLE held AS SELECT *, {quarantine.key_sql(con, rows)} AS _key, "
        f"false AS _tried FROM {rows}"
    )
    work: ImportJob | None = None
    notes: list[str] = []
    try:
        for group in _groups(con, reasons):
            work = work or ImportJob(lake, settings, TABLES[group.table], database=database)
            try:
                group.stage(work, str(map_path.absolute()) if map_path else group.map_name)
            except BadInput as refusal:
                notes.append(str(refusal))
                continue
            con.execute(f"UPDATE held SET _tried = true WHERE {group.where}")
        if work is None or not (work.staged or work.good_rows):
            return ReleaseReport(notes=tuple(notes))
        stay = "SELECT * EXCLUDE (_tried, _key, _remedy) FROM held WHERE NOT _tried"
        started = perf_counter()
        try:
            report = work.commit([path.name], lambda: perf_counter() - started, (path, stay))
        except BadInput as refusal:  # refuses the whole file, so its rows stay
            return ReleaseReport(work.read_rows, notes=(*notes, f"{path.name}: {refusal}"))
        rules = identity.load_rules(settings)
        report = import_log.link_customers(lake, rules, report, work.ids_with_new_keys)
        if database is not None:
            import_log.log_import(lake, database, report, f"quarantine/{path.name}", listener)
        return ReleaseReport(
            report.rows_read,
            report.rows_accepted,
            report.rows_duplicate,
            report.rows_filtered,
            notes=tuple(notes),
        )
    finally:
        if work is not None:
            work.close()
        con.execute("DROP TABLE IF EXISTS held; DROP TABLE IF EXISTS raw_rows")


class _Group(NamedTuple):
    """Rows of one file that share map and reading; the fields after ``where`` are `_KEYS`."""

    con: Any
    where: str
    table: str
    stage_name: str
    file: str
    import_id: str
    map_name: str | None
    origin: str | None
    reading: str

    def stage(self, work: ImportJob, map_name: str | None) -> None:
        """Stage the rows in an import."""
        reading = json.loads(self.reading)
        columns = reading["columns"]
        own = ", ".join(
            f"{quoted(name)}::{type_} AS {quoted(name)}" for name, type_ in columns.items()
        )
        sql = f"CREATE OR REPLACE TABLE raw_rows AS SELECT {own} FROM held WHERE {self.where}"
        self.con.execute(sql)
        is_of_map = self.stage_name == quarantine.MAP
        map_name = map_name if is_of_map else None
        if map_name is not None:
            mapped = _mapping(work, map_name)
        else:
            mapped = mapping.canonical_mapping(work.table, list(columns))
        mapping.check_mapping(mapped, list(columns), self.file)
        work.source = self.origin if is_of_map else None
        work.origin = quarantine.Origin(self.table, self.import_id, map_name, self.origin)
        readings = {name: ColumnReading(**how) for name, how in reading["as"].items()}
        version = reading.get("version")
        if "version" in reading and work.writer is not None and work.states is None:
            work.track_states(False, is_release=True)
        newest = version and datetime.fromisoformat(version)
        work.stage_source(Source(self.file, "raw_rows", columns, readings), mapped, newest=newest)


def _mapping(work: ImportJob, name: str) -> mapping.Mapping:
    if name.startswith("format:"):
        return formats.read(name.removeprefix("format:"), work.table, work.settings.timezone)
    return mapping.read_map(quarantine.map_file(work.settings, name), work.table)


def _groups(con: Any, reasons: list[Reason] | None) -> Iterator[_Group]:
    """Group the rows that can be retried by map.

    Broken lines and files of the first release cannot be retried.
    """
    names = {row[0] for row in con.execute("DESCRIBE held").fetchall()}
    if not set(quarantine.ORIGIN) <= names:
        return
    condition = f"_stage <> {literal(quarantine.LINE)}"
    if reasons is not None:
        condition += f" AND {quarantine.condition(reasons, '_key')}"
    sql = f"SELECT DISTINCT {', '.join(_KEYS)} FROM held WHERE {condition} ORDER BY ALL"
    groups = con.execute(sql).fetchall()
    for values in groups:
        pairs = zip(_KEYS, values, strict=True)
        equal_keys = [f"{key} IS NOT DISTINCT FROM {literal(value)}" for key, value in pairs]
        yield _Group(con, " AND ".join([condition, *equal_keys]), *values)
