"""Log imports, and find an earlier import of the same file."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from retention import clock
from retention.db.tables import ImportLog
from retention.lake import customer_directory
from retention.lake.identity import links
from retention.lake.schema import EVENT_IDENTITY
from retention.paths import is_url
from retention.window import Means

if TYPE_CHECKING:
    from retention.db import Database, Transaction
    from retention.lake import Lake
    from retention.lake.identity import IdentityRules
    from retention.lake.importing.mapping import Mapping

SAMPLE_BYTES = 64 * 1024  # hashed at the beginning and at the end of a file
# Of a map. The order is part of stored hashes.
_FILE_FORMAT = (
    *("timezone", "rows", "encoding", "delimiter"),
    *("decimal", "date_format", "dayfirst", "header"),
)
_SUMS = ("read", "filtered", "accepted", "duplicate", "equal", "quarantined")
MAX_IMPORTS = 300  # searched for an earlier import


@dataclass(frozen=True, slots=True)
class ImportReport:
    """Count the outcomes of an import's rows.

    ``rows_read`` is the sum of filtered, accepted, duplicate and quarantined rows.
    """

    table: str
    rows_read: int
    rows_filtered: int
    rows_accepted: int
    rows_duplicate: int
    rows_quarantined: int
    quarantine: dict[str, int] = field(default_factory=dict)
    """Quarantined rows by code."""
    quarantine_path: str | None = None
    seconds: float = 0.0
    files: tuple[dict[str, Any], ...] = ()
    """Per file: rows, detected format, and short hashes of contents and map."""
    quarantine_text: dict[str, int] = field(default_factory=dict)
    """Quarantined rows by sentence."""

    mended: dict[str, int] = field(default_factory=dict)
    """Rows that were corrected, by correction."""

    rows_equal: int = 0
    """Duplicates of another event of the same import."""

    linked: dict[str, Any] = field(default_factory=dict)
    """Result of identity linking after a customer import (`LinkingResult`)."""

    redemptions: dict[str, int] = field(default_factory=dict)
    """Outcomes of imported coupon codes (`retention.campaigns.codes.redemptions.outcome_text`)."""

    bounces: dict[str, int] = field(default_factory=dict)
    """Outcomes of imported bounces (`retention.outreach.bounces.mark_bounced`)."""

    timezone: str = ""
    """Time zone of the map if the installation has none; features then use UTC."""

    before: str = ""
    """Day on which the same file was read with another map; its events count twice now."""

    lake: str = ""
    """Lake state after the import (`customer_directory.followed_state`).

    Empty without a database.
    """

    orders_superseded: int = 0
    """Orders of which a newer state counts now."""

    means: Means | None = None
    """What the map says that a purchase is: an order, a renewal or an activity."""

    left_out: tuple[dict[str, Any], ...] = ()
    """Orders that the map's ``leave_out`` excludes: ``column``, ``value``, ``rows``, ``orders``.

    ``of_orders`` counts all orders of the file that its ``where`` accepts. Rows without an order id
    count as orders.
    """

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of the report."""
        return asdict(self) | {"files": [*self.files], "left_out": [*self.left_out]}


def add_reports(first: ImportReport, other: ImportReport) -> ImportReport:
    """Add the rows of another import to a report, which keeps the rest of the first."""
    summed: dict[str, Any] = {
        name: getattr(first, name) + getattr(other, name)
        for name in (
            *("rows_read", "rows_filtered", "rows_accepted", "rows_duplicate", "rows_quarantined"),
            *("rows_equal", "orders_superseded", "seconds", "files", "left_out"),
        )
    }
    counted: dict[str, Any] = {
        name: dict(Counter(getattr(first, name)) + Counter(getattr(other, name)))
        for name in ("quarantine", "quarantine_text", "mended")
    }
    path = first.quarantine_path or other.quarantine_path
    means = first.means or other.means
    return replace(first, quarantine_path=path, means=means, **summed, **counted)


def _ignore(*_: object) -> None:
    return None


@dataclass(frozen=True, slots=True)
class ImportListener:
    """Callbacks for imported events.

    Layers above the lake use them to react to an import.

    `read`: called as ``(lake, database)`` before the transaction that logs an import of
    events, even without new rows: an earlier import may have been killed before its callback. The
    lake is read here, because a transaction of SQLite makes all other writers wait.
    `in_transaction`: called as ``(session, result of read)`` in that transaction.
    `after_commit`: called as ``(lake, database)`` after that commit, if rows were new.
    """

    read: Callable[["Lake", "Database"], Any] = _ignore
    in_transaction: Callable[["Transaction", Any], object] = _ignore
    after_commit: Callable[["Lake", "Database"], object] = _ignore


NO_LISTENER = ImportListener()


def content_hashes(file: str, mapping: "Mapping", source: str | None) -> dict[str, str]:
    """Return short hashes of a file and its map.

    `earlier_import_day` compares them. The map's hash covers only what decides an event's id, and
    the file format. So a changed ``where`` or other column does not change it.

    Returns: ``stamp`` and ``map``; empty for a database.
    """
    if is_url(file):
        return {}
    size = Path(file).stat().st_size
    with Path(file).open("rb") as opened:
        sample = opened.read(SAMPLE_BYTES)
        opened.seek(max(SAMPLE_BYTES, size - SAMPLE_BYTES))
        sample += opened.read()
    identity = [source, *(mapping.columns.get(name) for name in ("event_id", *EVENT_IDENTITY))]
    file_format = [getattr(mapping, name) for name in _FILE_FORMAT]
    return {
        "stamp": _short(b"%d " % size + sample),
        "map": _short(repr((identity, file_format)).encode()),
    }


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def link_customers(
    lake: "Lake", rules: "IdentityRules", report: ImportReport, ids_with_new_keys: list[str]
) -> ImportReport:
    """Link imported customers by exact keys.

    It also runs without new rows and then checks all keys. This finishes an import that was killed.
    """
    if report.table != "customers" or not rules.after_import:
        return report
    new_ids = ids_with_new_keys if report.rows_accepted else None
    linked = links.link_exact(lake, rules, by="import", changed_ids=new_ids).as_dict()
    return replace(report, linked=linked)


def log_import(
    lake: "Lake",
    database: "Database",
    report: ImportReport,
    source: str,
    listener: ImportListener = NO_LISTENER,
) -> ImportReport:
    """Log the report and update the customer directory.

    It also runs without new rows. This finishes an import that was killed after the lake's commit.
    The lake state in the last report shows whether the directory is up to date.
    """
    settings = database.settings
    is_of_events = report.table == "events"
    found = listener.read(lake, database) if is_of_events else None
    for is_last in (False, True):
        directory, state = _directory_if_old(lake, database, report)
        with database.transaction() as session:
            if directory is not None:
                if not (is_last or directory.is_current):
                    continue  # the lake changed meanwhile: read it again
                customer_directory.write(session, directory)
            report = replace(report, lake=state)
            entry = ImportLog(id=uuid.uuid4().hex, team_id=settings.team_id, source=source)
            entry.table_name, entry.report = report.table, report.as_dict()
            session.add(entry)
            if is_of_events:
                listener.in_transaction(session, found)
        break
    if is_of_events and report.rows_accepted:
        listener.after_commit(lake, database)
    return report


def _directory_if_old(
    lake: "Lake", database: "Database", report: ImportReport
) -> tuple[customer_directory.Snapshot | None, str]:
    """Return what the directory lacks, and the state of the lake that it follows then."""
    state = customer_directory.followed_state(lake)
    if report.table not in customer_directory.FOLLOWED_TABLES:
        return None, state
    with database.reading() as session:
        if _last_directory_state(session) == state:
            return None, state
    directory = customer_directory.read(lake, database.settings)
    return directory, directory.state


def log_live_events(session: "Transaction", report: ImportReport) -> None:
    """Add the counts of a micro-batch to the day's entry in the import log."""
    now, team = clock.now(), session.settings.team_id
    entry_id = f"live-{now:%Y%m%d}-{_short(team.encode())[:8]}"
    entry = session.get(ImportLog, entry_id)
    if entry is None:
        entry = ImportLog(id=entry_id, team_id=team, table_name="events", source="live", at=now)
        entry.report = report.as_dict()
        session.add(entry)
        return
    added, total = report.as_dict(), dict(entry.report)
    for name in _SUMS:
        total[f"rows_{name}"] += added[f"rows_{name}"]
    for name in ("quarantine", "quarantine_text", "mended"):
        total[name] = dict(Counter(total[name]) + Counter(added[name]))
    entry.report = total


def _last_directory_state(session: "Transaction") -> str | None:
    """Return the lake state of the last directory update."""
    followed = ImportLog.table_name.in_(customer_directory.FOLLOWED_TABLES)
    is_own = ImportLog.team_id == session.settings.team_id
    reports = select(ImportLog.report).where(is_own, followed)
    report = session.scalar(reports.order_by(ImportLog.at.desc()).limit(1))
    return report.get("lake") if report else None


def earlier_import_day(database: "Database", report: ImportReport) -> str:
    """Return the day of an earlier, different import.

    An event's identity is its content. With another map or time zone the same file gives other
    events, and the earlier events remain.

    Returns: ISO date; empty if there are no new events or no such import.
    """
    if report.table != "events" or not report.rows_accepted:
        return ""
    last: dict[str, tuple[str, str]] = {}
    with database.reading() as session:
        is_own = ImportLog.team_id == database.settings.team_id
        imports = session.scalars(
            select(ImportLog)
            .where(is_own, ImportLog.table_name == report.table)
            .order_by(ImportLog.at.desc())
            .limit(MAX_IMPORTS)
        )
        for logged in imports:
            for file in logged.report["files"]:
                if "stamp" in file:
                    last.setdefault(file["stamp"], (file["map"], f"{logged.at:%Y-%m-%d}"))
    days = [
        last[file["stamp"]][1]
        for file in report.files
        if file.get("stamp") in last and last[file["stamp"]][0] != file["map"]
    ]
    return max(days, default="")
