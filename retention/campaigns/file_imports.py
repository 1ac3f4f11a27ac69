"""Import redemptions and bounces from files.

Rows are read and mapped like tables of the lake, then handled in batches and stored in SQL.

`LISTENER` updates campaigns after an import of events.
"""
# ruff: noqa: S608 - SQL is put together from quoted names and escaped literals

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from retention.campaigns import late_orders, redemptions
from retention.campaigns.redemptions import CodeUse, redeem
from retention.campaigns.states import find_campaign
from retention.db import Database
from retention.db.tables import Campaign, Redemption, Send
from retention.errors import BadInput
from retention.lake import import_log, mapping, quarantine
from retention.lake.import_log import ImportListener, ImportReport
from retention.lake.importing import ImportJob, display_names
from retention.lake.lake import Lake
from retention.lake.quarantine_reasons import Reason, ReasonCode, by_code, by_text
from retention.lake.reading import sources
from retention.lake.schema import BOUNCES, REDEMPTIONS, Table
from retention.outreach.bounces import Bounce, mark_bounced
from retention.outreach.channels import EMAIL
from retention.progress import Progress, silent
from retention.settings import Settings
from retention.text import gettext

UNKNOWN = "unknown"  # outcome of a row that matches nothing stored
BATCH_ROWS = 2_000  # rows per transaction; it locks their coupons or sends
# Record redeemed coupons, and recompute closed results that gained orders.
LISTENER = ImportListener(
    read=redemptions.event_uses,
    in_transaction=redemptions.redeem,
    after_commit=late_orders.update_late_results,
)
Recount = Callable[[Session, Campaign], None]


@dataclass(frozen=True, slots=True)
class RowHandler:
    """How the rows of a table are handled and counted.

    ``handle`` maps rows (earliest first) to outcomes in the caller's session. Rows with the outcome
    `UNKNOWN` are quarantined with ``unknown_reason``. ``count_stored`` counts the stored rows.
    ``label`` is the progress label.
    """

    table: Table
    handle: Callable[[Session, Sequence[Any]], list[str]]
    count_stored: Callable[[Session], int]
    unknown_reason: ReasonCode
    label: str


def import_rows(
    lake: Lake,
    database: Database,
    settings: Settings,
    row_handler: RowHandler,
    files: list[str],
    map_path: Path | None = None,
    *,
    query: str | None = None,
    progress: Progress = silent,
) -> ImportReport:
    """Import files and handle their rows in short transactions.

    The same file twice changes nothing. After a killed import, the same file completes the rest.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    database : Database
        Database of the installation.
    settings : Settings
        Settings of the installation.
    row_handler : RowHandler
        Table, handler and labels.
    files : list of str
        Paths of the files.
    map_path : Path, optional
        Column map.
    query : str, optional
        Database query to import instead of files.
    progress : Progress, optional
        Called with done, total and a label.

    Returns
    -------
    ImportReport

    Raises
    ------
    BadInput
        A file, the map or the query cannot be read; nothing is changed.
    """
    started = perf_counter()
    if not files:
        raise BadInput(gettext("Name at least one file to import."))
    table = row_handler.table
    mapped = mapping.read_map(map_path, table, settings.timezone) if map_path else None
    files = sources.expand_paths(files)
    work = _RowImport(
        lake, settings, table, mapped, None, query, None, str(map_path) if map_path else None
    )
    try:
        for number, file in enumerate(files):
            progress(number, len(files) + 1, gettext("reading {file}").format(file=Path(file).name))
            work.read(file, lambda rows: None)
        progress(len(files), len(files) + 1, row_handler.label)
        report = work.handle_rows(
            database, row_handler, files, lambda: round(perf_counter() - started, 3)
        )
    finally:
        work.close()
    import_log.log_import(lake, database, settings, report, display_names(files))
    return report


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
    """Import used codes from files or one database query.

    Codes that are not ours are quarantined.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    database : Database
        Database of the installation.
    settings : Settings
        Settings of the installation.
    files : list of str
        Paths of the files.
    map_path : Path, optional
        Column map.
    query : str, optional
        Database query to import instead of files.
    progress : Progress, optional
        Called with done, total and a label.

    Returns
    -------
    ImportReport

    Raises
    ------
    BadInput
        As for `import_rows`.
    """
    row_handler = RowHandler(
        REDEMPTIONS,
        partial(_handle_redemptions, settings),
        _stored_redemptions,
        ReasonCode.UNKNOWN_COUPON,
        gettext("judging the codes"),
    )
    return import_rows(
        lake, database, settings, row_handler, files, map_path, query=query, progress=progress
    )


def _handle_redemptions(settings: Settings, session: Session, rows: Sequence[Any]) -> list[str]:
    uses = [
        CodeUse(code, as_utc(at), "import", customer_id, order_id)
        for code, at, customer_id, order_id in rows
    ]
    return redeem(session, settings, uses)


def _stored_redemptions(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Redemption)) or 0


def import_bounces(
    lake: Lake,
    database: Database,
    settings: Settings,
    files: list[str],
    map_path: Path | None = None,
    *,
    recount: Recount,
    query: str | None = None,
    progress: Progress = silent,
) -> ImportReport:
    """Import bounces from files or one database query.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    database : Database
        Database of the installation.
    settings : Settings
        Settings of the installation.
    files : list of str
        Paths of the files.
    map_path : Path, optional
        Column map.
    recount : Recount
        Updates the counts of a campaign in the transaction that marks its sends.
    query : str, optional
        Database query to import instead of files.
    progress : Progress, optional
        Called with done, total and a label.

    Returns
    -------
    ImportReport

    Raises
    ------
    BadInput
        As for `import_rows`.
    """

    def handle(session: Session, rows: Sequence[Any]) -> list[str]:
        bounces = [
            Bounce(as_utc(at), customer_id, email, channel or EMAIL)
            for customer_id, email, at, channel in rows
        ]
        outcomes, campaigns = mark_bounced(session, settings, bounces)
        for campaign_id in sorted(campaigns):
            recount(session, find_campaign(session, settings, campaign_id))
        return outcomes

    row_handler = RowHandler(
        BOUNCES,
        handle,
        _stored_bounces,
        ReasonCode.UNKNOWN_RECIPIENT,
        gettext("finding their copies"),
    )
    return import_rows(
        lake, database, settings, row_handler, files, map_path, query=query, progress=progress
    )


def _stored_bounces(session: Session) -> int:
    return session.scalar(select(func.count()).where(Send.state == "bounced")) or 0


def as_utc(at: datetime) -> datetime:
    """Return an imported time with its UTC zone."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


class _RowImport(ImportJob):
    """An import whose rows a `RowHandler` stores in SQL.

    Quarantined rows are imported again, not released, because the lake has no such table.
    """

    def _quarantine(self, rows: str, stage: str, source: sources.Source) -> None:
        super()._quarantine(rows, quarantine.LINE, source)

    def handle_rows(
        self,
        database: Database,
        row_handler: RowHandler,
        files: list[str],
        seconds: Callable[[], float],
    ) -> ImportReport:
        """Handle the staged rows and write the quarantine.

        Parameters
        ----------
        database : Database
            Database of the installation.
        row_handler : RowHandler
            Table, handler and labels.
        files : list of str
            Paths of the files.
        seconds : callable
            Returns the elapsed seconds.

        Returns
        -------
        ImportReport
        """
        columns = ", ".join(self.table.names)
        rows: list[Any] = (
            self.con.execute(f"SELECT {columns} FROM staged ORDER BY occurred_at, rowid").fetchall()
            if self.staged
            else []
        )
        with database.reading() as session:
            before = row_handler.count_stored(session)
        outcomes = list[str]()
        for start in range(0, len(rows), BATCH_ROWS):
            with database.transaction() as session:
                outcomes += row_handler.handle(session, rows[start : start + BATCH_ROWS])
        with database.reading() as session:
            accepted = row_handler.count_stored(session) - before
        unknown = [row for row, outcome in zip(rows, outcomes, strict=True) if outcome == UNKNOWN]
        self._set_aside(unknown, row_handler.unknown_reason)
        path = self._write_quarantine(
            files, refused=len(rows) == len(unknown) and bool(self.read_rows)
        )
        outcome_counts = Counter(outcome for outcome in outcomes if outcome != UNKNOWN)
        report = ImportReport(
            self.table.name,
            self.read_rows,
            self.filtered,
            accepted,
            len(rows) - len(unknown) - accepted,
            sum(self.reasons.values()),
            by_code(self.parsed_reasons),
            path,
            seconds(),
            tuple(self.file_reports),
            by_text(self.parsed_reasons),
        )
        getattr(report, self.table.name).update(outcome_counts)
        return report

    def _set_aside(self, unknown: list[Any], code: ReasonCode) -> None:
        if not unknown:
            return
        import pandas as pd

        self.con.register("unknown_rows", pd.DataFrame(unknown, columns=list(self.table.names)))
        reason = Reason(code).key
        rows = f"SELECT {mapping.literal(reason)} AS reason, * FROM unknown_rows"
        self._quarantine(
            rows,
            quarantine.RULES,
            sources.Source(", ".join(dict.fromkeys(self.staged_sources)), rows, {}),
        )
        self._add_reasons({reason: len(unknown)})
        self.con.unregister("unknown_rows")
