"""Import redemptions and bounces from files.

Rows are read and mapped like tables of the lake, then handled in batches and stored in SQL.

`LISTENER` updates campaigns after an import of events.
"""
# ruff: noqa: S608 - SQL is put together from quoted names and escaped literals

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from sqlalchemy import Select, func, select

from retention.campaigns.codes import redemptions
from retention.campaigns.codes.redemptions import CodeUse, redeem
from retention.campaigns.lifecycle.states import find_campaign
from retention.campaigns.measurement import late_orders
from retention.db import Database, Transaction
from retention.db.tables import Campaign, Redemption, Send
from retention.errors import BadInput
from retention.lake.importing import import_log, mapping, quarantine
from retention.lake.importing.import_files import ImportJob, ImportOptions, display_names
from retention.lake.importing.import_log import ImportListener, ImportReport
from retention.lake.importing.quarantine_reasons import Reason, ReasonCode, by_code, by_text
from retention.lake.lake import Lake
from retention.lake.reading import sources
from retention.lake.schema import BOUNCES, REDEMPTIONS, Table
from retention.outreach.adapter import EMAIL
from retention.outreach.bounces import Bounce, mark_bounced
from retention.progress import Progress, silent
from retention.text import gettext

UNKNOWN = "unknown"  # outcome of a row that matches nothing stored
BATCH_ROWS = 2_000  # rows per transaction; it locks their coupons or sends
# Record redeemed coupons, and recompute closed results that gained orders.
LISTENER = ImportListener(
    read=redemptions.event_uses,
    in_transaction=redemptions.redeem,
    after_commit=late_orders.update_late_results,
)
Recount = Callable[[Transaction, Campaign], None]


@dataclass(frozen=True, slots=True)
class RowHandler:
    """How the rows of a table are handled and counted.

    ``handle`` maps rows (earliest first) to outcomes in the caller's session. Rows with the outcome
    `UNKNOWN` are quarantined with ``unknown_reason``. ``stored`` counts the stored rows.
    ``label`` is the progress label.
    """

    table: Table
    handle: Callable[[Transaction, Sequence[Any]], list[str]]
    stored: Select[int]
    unknown_reason: ReasonCode
    label: str


def import_rows(
    lake: Lake,
    database: Database,
    row_handler: RowHandler,
    files: list[str],
    map_path: Path | mapping.Mapping | None = None,
    *,
    query: str | None = None,
    progress: Progress = silent,
) -> ImportReport:
    """Import files or one database query, and handle the rows in short transactions.

    The same file twice changes nothing. After a killed import, the same file completes the rest.
    """
    started = perf_counter()
    if not files:
        raise BadInput(gettext("Name at least one file to import."))
    table = row_handler.table
    zone, name = database.settings.timezone, str(map_path) if isinstance(map_path, Path) else None
    mapped = mapping.read_map(map_path, table, zone) if isinstance(map_path, Path) else map_path
    files = sources.expand_paths(files)
    options = ImportOptions(query=query, map_name=name)
    work = _RowImport(lake, database.settings, table, mapped, options)
    try:
        for number, file in enumerate(files):
            progress(number, len(files) + 1, gettext("reading {file}").format(file=Path(file).name))
            work.read(file, lambda rows: None)
        progress(len(files), len(files) + 1, row_handler.label)
        report = work.handle_rows(database, row_handler, files, started)
    finally:
        work.close()
    import_log.log_import(lake, database, report, display_names(files))
    return report


def redemption_rows() -> RowHandler:
    """Judge used codes. Codes that are not ours are quarantined."""
    return RowHandler(
        REDEMPTIONS,
        _handle_redemptions,
        select(func.count()).select_from(Redemption),
        ReasonCode.UNKNOWN_COUPON,
        gettext("judging the codes"),
    )


def _handle_redemptions(session: Transaction, rows: Sequence[Any]) -> list[str]:
    uses = [
        CodeUse(code, as_utc(at), "import", customer_id, order_id)
        for code, at, customer_id, order_id in rows
    ]
    return redeem(session, uses)


def bounce_rows(recount: Recount) -> RowHandler:
    """Note bounces, and recount the campaigns that they belong to."""

    def handle(session: Transaction, rows: Sequence[Any]) -> list[str]:
        bounces = [
            Bounce(as_utc(at), customer_id, email, channel or EMAIL)
            for customer_id, email, at, channel in rows
        ]
        outcomes, campaigns = mark_bounced(session, bounces)
        for campaign_id in sorted(campaigns):
            recount(session, find_campaign(session, campaign_id))
        return outcomes

    return RowHandler(
        BOUNCES,
        handle,
        select(func.count()).where(Send.state == "bounced"),
        ReasonCode.UNKNOWN_RECIPIENT,
        gettext("finding their copies"),
    )


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
        self, database: Database, row_handler: RowHandler, files: list[str], started: float
    ) -> ImportReport:
        """Handle the staged rows and write the quarantine.

        `started`: of `perf_counter`.
        """
        columns = ", ".join(self.table.names)
        at = "occurred_at, " if "occurred_at" in self.table.names else ""
        staged = f"SELECT {columns} FROM staged ORDER BY {at}rowid"
        rows: list[Any] = self.con.execute(staged).fetchall() if self.staged else []
        with database.reading() as session:
            before = session.scalar(row_handler.stored) or 0
        outcomes = list[str]()
        for start in range(0, len(rows), BATCH_ROWS):
            with database.transaction() as session:
                outcomes += row_handler.handle(session, rows[start : start + BATCH_ROWS])
        with database.reading() as session:
            accepted = (session.scalar(row_handler.stored) or 0) - before
        unknown = [row for row, outcome in zip(rows, outcomes, strict=True) if outcome == UNKNOWN]
        self._set_aside(unknown, row_handler.unknown_reason)
        is_refused = len(rows) == len(unknown) and bool(self.read_rows)
        path = self._write_quarantine(files, refused=is_refused)
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
            round(perf_counter() - started, 3),
            tuple(self.file_reports),
            by_text(self.parsed_reasons),
        )
        getattr(report, self.table.name, Counter()).update(outcome_counts)
        return report

    def _set_aside(self, unknown: list[Any], code: ReasonCode) -> None:
        if not unknown:
            return
        import pandas as pd

        self.con.register("unknown_rows", pd.DataFrame(unknown, columns=list(self.table.names)))
        reason = Reason(code).key
        rows = f"SELECT {mapping.literal(reason)} AS reason, * FROM unknown_rows"
        name = ", ".join(dict.fromkeys(self.staged_sources))
        self._quarantine(rows, quarantine.RULES, sources.Source(name, rows, {}))
        self.reasons[reason] += len(unknown)
        self.con.unregister("unknown_rows")
