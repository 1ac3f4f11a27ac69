"""Log imports, and find an earlier import of the same file."""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from retention import clock
from retention.lake import customer_directory
from retention.lake.schema import EVENT_IDENTITY
from retention.paths import is_url

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from retention.db import Database
    from retention.lake import Lake
    from retention.lake.identity import IdentityRules
    from retention.lake.mapping import Mapping
    from retention.settings import Settings

SAMPLE_BYTES = 64 * 1024  # hashed at the beginning and at the end of a file
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
    """Outcomes of imported coupon codes (`retention.campaigns.redemptions.outcome_text`)."""

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

    left_out: tuple[dict[str, Any], ...] = ()
    """Orders that the map's ``leave_out`` excludes: ``column``, ``value``, ``rows``, ``orders``.

    ``of_orders`` counts all orders of the file that its ``where`` accepts. Rows without an order id
    count as orders.
    """

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of the report."""
        return asdict(self) | {"files": [*self.files], "left_out": [*self.left_out]}


def _ignore(*_: object) -> None:
    return None


@dataclass(frozen=True, slots=True)
class ImportListener:
    """Callbacks for imported events.

    Layers above the lake use them to react to an import.

    Parameters
    ----------
    read : callable
        Called as ``(lake, database, settings)`` before the transaction that logs an import of
        events, even without new rows: an earlier import may have been killed before its callback.
        The lake is read here, because a transaction of SQLite makes all other writers wait.
    in_transaction : callable
        Called as ``(session, settings, result of read)`` in that transaction.
    after_commit : callable
        Called as ``(lake, database, settings)`` after that commit, if rows were new.
    """

    read: Callable[["Lake", "Database", "Settings"], Any] = _ignore
    in_transaction: Callable[["Session", "Settings", Any], object] = _ignore
    after_commit: Callable[["Lake", "Database", "Settings"], object] = _ignore


NO_LISTENER = ImportListener()


def content_hashes(file: str, mapping: "Mapping", source: str | None) -> dict[str, str]:
    """Return short hashes of a file and its map.

    `earlier_import_day` compares them. The map's hash covers only what decides an event's id, and
    the file format. So a changed ``where`` or other column does not change it.

    Parameters
    ----------
    file : str
        Path or database URL.
    mapping : Mapping
        The map.
    source : str, optional
        Value of ``events.source``.

    Returns
    -------
    dict of str to str
        ``stamp`` and ``map``; empty for a database.
    """
    if is_url(file):
        return {}
    size = Path(file).stat().st_size
    with Path(file).open("rb") as opened:
        sample = opened.read(SAMPLE_BYTES)
        opened.seek(max(SAMPLE_BYTES, size - SAMPLE_BYTES))
        sample += opened.read()
    identity = [source, *(mapping.columns.get(name) for name in ("event_id", *EVENT_IDENTITY))]
    file_format = [
        mapping.timezone,
        mapping.rows,
        mapping.encoding,
        mapping.delimiter,
        mapping.decimal,
        mapping.date_format,
        mapping.dayfirst,
        mapping.header,
    ]
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

    Parameters
    ----------
    lake : Lake
        Target.
    rules : IdentityRules
        Settings of the linking.
    report : ImportReport
        Report of the import.
    ids_with_new_keys : list of str
        Ids with new keys.

    Returns
    -------
    ImportReport
        With ``linked``.
    """
    from retention.lake.identity import exact

    if report.table != "customers" or not rules.after_import:
        return report
    new_ids = ids_with_new_keys if report.rows_accepted else None
    return replace(
        report, linked=exact.link(lake, rules, by="import", changed_ids=new_ids).as_dict()
    )


def log_import(
    lake: "Lake",
    database: "Database",
    settings: "Settings",
    report: ImportReport,
    source: str,
    listener: ImportListener = NO_LISTENER,
) -> ImportReport:
    """Log the report and update the customer directory.

    It also runs without new rows. This finishes an import that was killed after the lake's commit.
    The lake state in the last report shows whether the directory is up to date.

    Parameters
    ----------
    lake, database, settings
        Target.
    report : ImportReport
        Report of the import.
    source : str
        Names of the imported files.
    listener : ImportListener
        Called for events.

    Returns
    -------
    ImportReport
        The logged report.
    """
    from retention.db.tables import ImportLog

    is_of_events = report.table == "events"
    found = listener.read(lake, database, settings) if is_of_events else None
    for is_last in (False, True):
        directory, state = _directory_if_old(lake, database, settings, report)
        with database.transaction() as session:
            if directory is not None:
                if not (is_last or directory.is_current):
                    continue  # the lake changed meanwhile: read it again
                customer_directory.write(session, settings, directory)
            report = replace(report, lake=state)
            session.add(
                ImportLog(
                    id=uuid.uuid4().hex,
                    team_id=settings.team_id,
                    table_name=report.table,
                    source=source,
                    report=report.as_dict(),
                )
            )
            if is_of_events:
                listener.in_transaction(session, settings, found)
        break
    if is_of_events and report.rows_accepted:
        listener.after_commit(lake, database, settings)
    return report


def _directory_if_old(
    lake: "Lake", database: "Database", settings: "Settings", report: ImportReport
) -> tuple[customer_directory.Snapshot | None, str]:
    """Return what the directory lacks, and the state of the lake that it follows then."""
    state = customer_directory.followed_state(lake)
    if report.table not in customer_directory.FOLLOWED_TABLES:
        return None, state
    with database.reading() as session:
        if _last_directory_state(session, settings) == state:
            return None, state
    directory = customer_directory.read(lake, settings)
    return directory, directory.state


def log_live_events(session: "Session", settings: "Settings", report: ImportReport) -> None:
    """Add the counts of a micro-batch to the day's entry in the import log.

    Parameters
    ----------
    session : Session
        The transaction that publishes the micro-batch.
    settings : Settings
        Gives the team.
    report : ImportReport
        Report of the micro-batch.
    """
    from retention.db.tables import ImportLog

    now = clock.now()
    entry_id = f"live-{now:%Y%m%d}-{_short(settings.team_id.encode())[:8]}"
    entry = session.get(ImportLog, entry_id)
    if entry is None:
        session.add(
            ImportLog(
                id=entry_id,
                team_id=settings.team_id,
                table_name="events",
                source="live",
                report=report.as_dict(),
                at=now,
            )
        )
        return
    added, total = report.as_dict(), dict(entry.report)
    for name in ("rows_read", "rows_filtered", "rows_accepted", "rows_duplicate", "rows_equal"):
        total[name] += added[name]
    total["rows_quarantined"] += added["rows_quarantined"]
    for name in ("quarantine", "quarantine_text", "mended"):
        keys = {*total[name], *added[name]}
        total[name] = {key: total[name].get(key, 0) + added[name].get(key, 0) for key in keys}
    entry.report = total


def _last_directory_state(session: "Session", settings: "Settings") -> str | None:
    """Return the lake state of the last directory update."""
    from retention.db.tables import ImportLog

    report = session.scalar(
        select(ImportLog.report)
        .where(
            ImportLog.team_id == settings.team_id,
            ImportLog.table_name.in_(customer_directory.FOLLOWED_TABLES),
        )
        .order_by(ImportLog.at.desc())
        .limit(1)
    )
    return report.get("lake") if report else None


def earlier_import_day(database: "Database", settings: "Settings", report: ImportReport) -> str:
    """Return the day of an earlier, different import.

    An event's identity is its content. With another map or time zone the same file gives other
    events, and the earlier events remain.

    Parameters
    ----------
    database : Database
        Holds the import log.
    settings : Settings
        Gives the team.
    report : ImportReport
        Report of the import.

    Returns
    -------
    str
        ISO date; empty if there are no new events or no such import.
    """
    from retention.db.tables import ImportLog

    if report.table != "events" or not report.rows_accepted:
        return ""
    last: dict[str, tuple[str, str]] = {}
    with database.reading() as session:
        imports = session.scalars(
            select(ImportLog)
            .where(ImportLog.team_id == settings.team_id, ImportLog.table_name == report.table)
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
