"""Retry quarantined rows with today's map and rules."""

# ruff: noqa: S608 - SQL consists of quoted names and escaped literals
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from retention.db import Database
from retention.errors import BadInput
from retention.lake import formats, identity, import_log, mapping, quarantine
from retention.lake.importing import ImportJob
from retention.lake.lake import Lake
from retention.lake.mapping import literal, quoted
from retention.lake.quarantine_reasons import Reason, by_code, by_text
from retention.lake.reading.column_formats import ColumnReading
from retention.lake.reading.sources import Source
from retention.lake.schema import TABLES
from retention.privacy import erased
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.text import gettext


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

    Parameters
    ----------
    lake, database, settings
        Target; without a database there is no import log.
    reason : str, optional
        Retry only rows with this reason; see `quarantine.matching_reasons`.
    map_path : Path, optional
        The map to use; by default each row's own map in its present version.
    progress : Progress
        Called per file.
    listener : ImportListener, optional
        Called after events were imported.

    Returns
    -------
    ReleaseReport
        Row counts and the remaining quarantine.

    Raises
    ------
    BadInput
        If no row has the reason, or the map cannot be read.
    """
    if map_path is not None and not map_path.is_file():
        raise BadInput(
            gettext("The map {map_path} cannot be read: there is no such file.").format(
                map_path=map_path
            )
        )
    if map_path is not None:
        mapping.read_sections(map_path)
    started = perf_counter()
    con = lake.duckdb
    reasons: list[Reason] | None = None
    if reason is not None:
        reasons = quarantine.matching_reasons(con, settings, reason)
    tallies: list[tuple[int, int, int, int]] = []
    notes: list[str] = []
    paths = quarantine.files(settings)
    for number, path in enumerate(paths):
        progress(number, len(paths), gettext("trying {file}").format(file=path.name))
        tallies.append(
            _retry_file(lake, database, settings, path, reasons, map_path, notes, listener)
        )
    progress(len(paths), len(paths), gettext("done"))
    left = quarantine.reason_counts(con, settings)
    sums = [sum(column) for column in zip(*tallies, strict=True)] or [0, 0, 0, 0]
    return ReleaseReport(
        sums[0],
        sums[1],
        sums[2],
        sums[3],
        sums[0] - sum(sums[1:]),
        by_code(left),
        by_text(left),
        tuple(dict.fromkeys(notes)),
        round(perf_counter() - started, 3),
    )


def _retry_file(
    lake: Lake,
    database: Database | None,
    settings: Settings,
    path: Path,
    reasons: list[Reason] | None,
    map_path: Path | None,
    notes: list[str],
    listener: import_log.ImportListener,
) -> tuple[int, int, int, int]:
    """Retry one file; return tried, accepted, duplicate, filtered."""
    con, rows = lake.duckdb, f"read_parquet({literal(path)})"
    con.execute(
        f"CREATE OR REPLACE TABLE held AS SELECT *, {quarantine.key_sql(con, rows)} AS _key, "
        f"false AS _tried FROM {rows}"
    )
    work: ImportJob | None = None
    erased_customers = partial(erased.load_erased, database, settings)
    try:
        for group in _groups(con, reasons):
            work = work or ImportJob(
                lake,
                settings,
                TABLES[group.table],
                None,
                None,
                None,
                None,
                erased_customers=erased_customers,
            )
            try:
                group.stage(work, str(map_path.absolute()) if map_path else group.map_name)
            except BadInput as refusal:
                notes.append(str(refusal))
                continue
            con.execute(f"UPDATE held SET _tried = true WHERE {group.where}")
        if work is None or not (work.staged or work.good_rows):
            return 0, 0, 0, 0
        stay = "SELECT * EXCLUDE (_tried, _key, _remedy) FROM held WHERE NOT _tried"
        started = perf_counter()
        try:
            report = work.commit([path.name], lambda: perf_counter() - started, (path, stay))
        except BadInput as refusal:  # refuses the whole file, so its rows stay
            notes.append(f"{path.name}: {refusal}")
            return work.read_rows, 0, 0, 0
        report = import_log.link_customers(
            lake, identity.load_rules(settings), report, work.ids_with_new_keys
        )
        if database is not None:
            import_log.log_import(
                lake, database, settings, report, f"quarantine/{path.name}", listener
            )
        return report.rows_read, report.rows_accepted, report.rows_duplicate, report.rows_filtered
    finally:
        if work is not None:
            work.close()
        con.execute("DROP TABLE IF EXISTS held; DROP TABLE IF EXISTS raw_rows")


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows of one file that share map and reading."""

    con: Any
    where: str
    table: str
    stage_name: str
    file: str
    import_id: str
    map_name: str | None
    origin: str | None
    reading: dict[str, Any]

    def stage(self, work: ImportJob, map_name: str | None) -> None:
        """Stage the rows in an import."""
        columns = self.reading["columns"]
        own = ", ".join(
            f"{quoted(name)}::{type_} AS {quoted(name)}" for name, type_ in columns.items()
        )
        self.con.execute(
            f"CREATE OR REPLACE TABLE raw_rows AS SELECT {own} FROM held WHERE {self.where}"
        )
        by_map = self.stage_name == quarantine.MAP and map_name is not None
        mapped = (
            _mapping(work, map_name)
            if by_map and map_name
            else mapping.canonical_mapping(work.table, list(columns))
        )
        mapping.check_mapping(mapped, list(columns), self.file)
        work.source = self.origin if self.stage_name == quarantine.MAP else None
        work.origin = quarantine.Origin(
            self.table, self.import_id, map_name if by_map else None, self.origin
        )
        readings = {name: ColumnReading(**how) for name, how in self.reading["as"].items()}
        version = self.reading.get("version")
        if "version" in self.reading and work.writer is not None and work.states is None:
            work.track_states(False, is_release=True)
        work.stage_source(
            Source(self.file, "raw_rows", columns, readings),
            mapped,
            newest=version and datetime.fromisoformat(version),
        )


def _mapping(work: ImportJob, name: str) -> mapping.Mapping:
    if name.startswith("format:"):
        return formats.read(name.removeprefix("format:"), work.table, work.settings.timezone)
    return mapping.read_map(Path(name), work.table)


def _groups(con: Any, reasons: list[Reason] | None) -> Iterator[_Group]:
    """Group the rows that can be retried by map.

    Broken lines and files of the first release cannot be retried.
    """
    names = {row[0] for row in con.execute("DESCRIBE held").fetchall()}
    if not set(quarantine.ORIGIN) <= names:
        return
    keys = ("_table", "_stage", "_file", "_import", "_map", "_origin", "_reading")
    condition = f"_stage <> {literal(quarantine.LINE)}"
    if reasons is not None:
        condition += f" AND {quarantine.condition(reasons, '_key')}"
    groups = con.execute(
        f"SELECT DISTINCT {', '.join(keys)} FROM held WHERE {condition} ORDER BY ALL"
    ).fetchall()
    for values in groups:
        equal_keys = [
            f"{key} IS NOT DISTINCT FROM {literal(value)}"
            for key, value in zip(keys, values, strict=True)
        ]
        table, stage, file, import_id, map_name, origin, reading = values
        yield _Group(
            con,
            " AND ".join([condition, *equal_keys]),
            table,
            stage,
            file,
            import_id,
            map_name,
            origin,
            json.loads(reading),
        )
