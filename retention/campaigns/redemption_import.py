"""Import redemptions from a file: read and mapped as every table is, then judged and kept in SQL."""
# ruff: noqa: S608 - SQL is put together from quoted names and escaped literals

from collections import Counter
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from time import perf_counter
from typing import Any

from sqlalchemy import func, select

from retention.campaigns.redemptions import Use, redeem
from retention.db import Database
from retention.db.tables import Redemption
from retention.errors import BadInput
from retention.lake import import_log, mapping, quarantine
from retention.lake.import_report import ImportReport
from retention.lake.importing import Import, shown
from retention.lake.lake import Lake
from retention.lake.reading import sources
from retention.lake.schema import REDEMPTIONS
from retention.progress import Progress, silent
from retention.settings import Settings

AT_ONCE = 2_000  # uses judged in a transaction; it holds their coupons until it ends


def import_redemptions(
    lake: Lake,
    database: Database,
    settings: Settings,
    files: list[str],
    map_path: Path | None = None,
    *,
    query: str | None = None,
    progress: Progress = silent,
) -> ImportReport:
    """Import files (or one database query) of used codes, in short transactions; the same file twice changes nothing.

    So what an import that was killed had judged stays judged, and the file again does the rest. Codes that are none of
    ours go to the quarantine.

    Raises
    ------
    BadInput
        As `retention.lake.importing.import_files` does, with nothing changed.
    """
    started = perf_counter()
    if not files:
        raise BadInput("Name at least one file to import.")
    mapped = mapping.read_map(map_path, REDEMPTIONS, settings.timezone) if map_path else None
    files = sources.found(files)
    work = _Import(
        lake, settings, REDEMPTIONS, mapped, None, query, None, str(map_path) if map_path else None
    )
    try:
        for number, file in enumerate(files):
            progress(number, len(files) + 1, f"reading {Path(file).name}")
            work.read(file, lambda rows: None)
        progress(len(files), len(files) + 1, "judging the codes")
        report = work.judged(database, files, lambda: round(perf_counter() - started, 3))
    finally:
        work.close()
    import_log.keep(lake, database, settings, report, shown(files))
    return report


class _Import(Import):
    """An import whose good rows are judged. What is set aside is imported again, not released: there is no such lake table."""

    def _quarantine(self, rows: str, stage: str, source: sources.Source) -> None:
        super()._quarantine(rows, quarantine.LINE, source)

    def judged(self, database: Database, files: list[str], seconds: Callable[[], float]) -> ImportReport:
        """Judge what is staged and write the quarantine."""
        columns = ", ".join(REDEMPTIONS.names)
        rows: list[Any] = (
            self.con.execute(f"SELECT {columns} FROM staged ORDER BY occurred_at, rowid").fetchall()
            if self.staged
            else []
        )
        uses = [
            Use(
                code,
                at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC),
                "import",
                who,
                order,
            )
            for code, at, who, order in rows
        ]
        before, outcomes = _kept(database), list[str]()
        for start in range(0, len(uses), AT_ONCE):
            # what was judged stays judged, and nobody waits for all of them
            with database.transaction() as session:
                outcomes += redeem(session, self.settings, uses[start : start + AT_ONCE])
        accepted = _kept(database) - before
        unknown = [row for row, outcome in zip(rows, outcomes, strict=True) if outcome == "unknown"]
        self._set_aside(unknown)
        path = self._write_quarantine(files, refused=len(uses) == len(unknown) and bool(self.read_rows))
        counted = Counter(outcome for outcome in outcomes if outcome != "unknown")
        return ImportReport(
            REDEMPTIONS.name, self.read_rows, self.filtered, accepted, len(uses) - len(unknown) - accepted,
            sum(self.reasons.values()), dict(sorted(self.reasons.items(), key=lambda item: -item[1])), path,
            seconds(), tuple(self.seen), redemptions=dict(counted),
        )  # fmt: skip

    def _set_aside(self, unknown: list[Any]) -> None:
        if not unknown:
            return
        import pandas as pd

        self.con.register("foreign_codes", pd.DataFrame(unknown, columns=list(REDEMPTIONS.names)))
        rows = "SELECT 'no code of ours' AS reason, * FROM foreign_codes"
        self._quarantine(
            rows, quarantine.RULES, sources.Source(", ".join(dict.fromkeys(self.names)), rows, {})
        )
        self._count({"no code of ours": len(unknown)})
        self.con.unregister("foreign_codes")


def _kept(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(Redemption)) or 0
