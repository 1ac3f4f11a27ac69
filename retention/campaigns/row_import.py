"""Files of what happened outside and is judged here, a row at a time: read and mapped as every table is, kept in SQL and not in the lake."""
# ruff: noqa: S608 - SQL is put together from quoted names and escaped literals

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from sqlalchemy.orm import Session

from retention.db import Database
from retention.errors import BadInput
from retention.lake import import_log, mapping, quarantine
from retention.lake.import_log import ImportReport
from retention.lake.importing import ImportJob, display_names
from retention.lake.lake import Lake
from retention.lake.quarantine_reasons import Reason, ReasonCode, by_code, by_text
from retention.lake.reading import sources
from retention.lake.schema import Table
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.text import gettext

FOREIGN = "unknown"  # the outcome of a row that is about nothing of ours


@dataclass(frozen=True, slots=True)
class Judging:
    """What becomes of a table's rows.

    ``judge``: rows, the earliest first → an outcome each, in the caller's session; `FOREIGN` goes to the quarantine with the
    reason ``foreign``. ``kept``: how many are known by now. ``at_once``: rows of a transaction, which holds what they are about.
    """

    table: Table
    judge: Callable[[Session, Sequence[Any]], list[str]]
    kept: Callable[[Session], int]
    foreign: ReasonCode
    doing: str
    at_once: int


def import_judged(
    lake: Lake,
    database: Database,
    settings: Settings,
    judging: Judging,
    files: list[str],
    map_path: Path | None = None,
    *,
    query: str | None = None,
    progress: Progress = silent,
) -> ImportReport:
    """Import files (or one database query) in short transactions; the same file twice changes nothing.

    So what an import that was killed had judged stays judged, and the file again does the rest.

    Raises
    ------
    BadInput
        As `retention.lake.importing.import_files` does, with nothing changed.
    """
    started = perf_counter()
    if not files:
        raise BadInput(gettext("Name at least one file to import."))
    table = judging.table
    mapped = mapping.read_map(map_path, table, settings.timezone) if map_path else None
    files = sources.expand_paths(files)
    work = _Import(
        lake, settings, table, mapped, None, query, None, str(map_path) if map_path else None
    )
    try:
        for number, file in enumerate(files):
            progress(number, len(files) + 1, f"reading {Path(file).name}")
            work.read(file, lambda rows: None)
        progress(len(files), len(files) + 1, judging.doing)
        report = work.judged(database, judging, files, lambda: round(perf_counter() - started, 3))
    finally:
        work.close()
    import_log.log_import(lake, database, settings, report, display_names(files))
    return report


def utc(at: datetime) -> datetime:
    """A moment of an imported row, aware."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


class _Import(ImportJob):
    """An import whose good rows are judged. What is set aside is imported again, not released: there is no such lake table."""

    def _quarantine(self, rows: str, stage: str, source: sources.Source) -> None:
        super()._quarantine(rows, quarantine.LINE, source)

    def judged(
        self, database: Database, judging: Judging, files: list[str], seconds: Callable[[], float]
    ) -> ImportReport:
        """Judge what is staged and write the quarantine."""
        columns = ", ".join(self.table.names)
        rows: list[Any] = (
            self.con.execute(f"SELECT {columns} FROM staged ORDER BY occurred_at, rowid").fetchall()
            if self.staged
            else []
        )
        with database.reading() as session:
            before = judging.kept(session)
        outcomes = list[str]()
        for start in range(0, len(rows), judging.at_once):
            # what was judged stays judged, and nobody waits for all of them
            with database.transaction() as session:
                outcomes += judging.judge(session, rows[start : start + judging.at_once])
        with database.reading() as session:
            accepted = judging.kept(session) - before
        foreign = [row for row, outcome in zip(rows, outcomes, strict=True) if outcome == FOREIGN]
        self._set_aside(foreign, judging.foreign)
        path = self._write_quarantine(
            files, refused=len(rows) == len(foreign) and bool(self.read_rows)
        )
        counted = Counter(outcome for outcome in outcomes if outcome != FOREIGN)
        report = ImportReport(
            self.table.name,
            self.read_rows,
            self.filtered,
            accepted,
            len(rows) - len(foreign) - accepted,
            sum(self.reasons.values()),
            by_code(self.parsed_reasons),
            path,
            seconds(),
            tuple(self.file_reports),
            by_text(self.parsed_reasons),
        )
        getattr(report, self.table.name).update(counted)
        return report

    def _set_aside(self, foreign: list[Any], code: ReasonCode) -> None:
        if not foreign:
            return
        import pandas as pd

        self.con.register("foreign_rows", pd.DataFrame(foreign, columns=list(self.table.names)))
        reason = Reason(code).key
        rows = f"SELECT {mapping.literal(reason)} AS reason, * FROM foreign_rows"
        self._quarantine(
            rows,
            quarantine.RULES,
            sources.Source(", ".join(dict.fromkeys(self.staged_sources)), rows, {}),
        )
        self._add_reasons({reason: len(foreign)})
        self.con.unregister("foreign_rows")
