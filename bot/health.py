"""How the installation is: for `status`, for ``/health`` and for ``/metrics``. SQL only."""

import shutil
import socket
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

from sqlalchemy import func, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from retention import clock, monitoring
from retention.db import Database
from retention.db.tables import DirectoryEntry, ImportLog, Job, ModelVersion, Outbox, Process
from retention.faults import MIN_FREE_BYTES
from retention.settings import Settings
from workers.app import QUEUES
from workers.processes import STALE_AFTER

NEEDED = (*(f"worker:{queue}" for queue in QUEUES), "tick", "sender")  # beside the bot itself
PROBE_SECONDS = 3.0  # how long the answer of a write probe is kept
_PROBES: WeakKeyDictionary[Database, tuple[bool, float]] = WeakKeyDictionary()
JOB_STATES = ("queued", "running", "done", "failed", "cancelled")
OUTBOX_STATES = ("pending", "sending", "rate_limited", "ambiguous", "sent", "failed", "held")


@dataclass(frozen=True, slots=True)
class Counts:
    """What is in the job table and the outbox, by state."""

    jobs: dict[str, int]
    outbox: dict[str, int]
    oldest_queued_seconds: float


def counts(session: Session, settings: Settings) -> Counts:
    """Count jobs and posts by state; a state with none is there as 0."""
    oldest = session.scalar(
        select(func.min(Job.queued_at)).where(
            Job.team_id == settings.team_id, Job.state == "queued"
        )
    )
    return Counts(
        _by_state(session, settings, Job, JOB_STATES),
        _by_state(session, settings, Outbox, OUTBOX_STATES),
        max(0.0, (clock.wall() - oldest).total_seconds()) if oldest else 0.0,
    )


def _by_state(
    session: Session, settings: Settings, table: type[Job] | type[Outbox], states: tuple[str, ...]
) -> dict[str, int]:
    rows = session.execute(
        select(table.state, func.count())
        .where(table.team_id == settings.team_id)
        .group_by(table.state)
    ).all()
    return {**dict.fromkeys(states, 0), **dict(rows)}


def overview(session: Session, settings: Settings) -> dict[str, Any]:
    """What `status` shows."""
    counted = counts(session, settings)
    return {
        "now": clock.now().isoformat(),
        "models": models(session, settings),
        "data": data(session, settings),
        "jobs": counted.jobs,
        "posts": {state: number for state, number in counted.outbox.items() if state != "sent"},
        "oldest_queued_seconds": round(counted.oldest_queued_seconds, 1),
        "processes": processes(session),
        "demo": settings.demo,
    }


def models(session: Session, settings: Settings) -> list[dict[str, Any]]:
    """The champions."""
    found = session.scalars(
        select(ModelVersion)
        .where(ModelVersion.team_id == settings.team_id, ModelVersion.state == "champion")
        .order_by(ModelVersion.kind)
    ).all()
    return [
        {
            "kind": one.kind,
            "version": one.version,
            "estimator": one.estimator,
            "cutoff": one.cutoff.isoformat(),
            "metrics": {
                name: value for name, value in one.metrics.items() if isinstance(value, int | float)
            },
            "health": monitoring.described(seen)
            if (seen := monitoring.latest(session, settings, one.version))
            else None,
        }
        for one in found
    ]


def data(session: Session, settings: Settings) -> dict[str, Any]:
    """What has been imported, and how many customers are known."""
    logs = session.execute(
        select(ImportLog.table_name, func.max(ImportLog.at), func.count())
        .where(ImportLog.team_id == settings.team_id)
        .group_by(ImportLog.table_name)
        .order_by(ImportLog.table_name)
    ).all()
    known = select(func.count()).select_from(DirectoryEntry)
    known = known.where(
        DirectoryEntry.team_id == settings.team_id, DirectoryEntry.canonical_id.is_(None)
    )
    return {
        "customers": session.scalar(known) or 0,
        "imports": [
            {"table": name, "at": at.isoformat(), "imports": number} for name, at, number in logs
        ],
    }


def processes(session: Session) -> list[dict[str, Any]]:
    """Our processes, as they last reported themselves."""
    now = clock.wall()
    found = session.scalars(select(Process).order_by(Process.role, Process.name)).all()
    return [
        {
            "name": one.name,
            "role": one.role,
            "up": now - one.seen_at < STALE_AFTER,
            "silent_seconds": max(0, round((now - one.seen_at).total_seconds())),
        }
        for one in found
    ]


def database_answers(database: Database) -> bool:
    """Return whether the database takes a write, as each command needs; the answer is kept for three seconds.

    Quick enough for a health check: it waits a quarter of a second for a lock, and a database that only is busy counts
    as up.
    """
    now = time.monotonic()
    answer = _PROBES.get(database)
    if answer is None or now - answer[1] >= PROBE_SECONDS:
        answer = (_takes_a_write(database), now)
        _PROBES[database] = answer
    return answer[0]


def _takes_a_write(database: Database) -> bool:
    try:
        if not database.is_sqlite:
            return _postgres_takes_a_write(database)
        if disk := _disk(database):
            return bool(disk["up"]) and _sqlite_takes_a_write(str(database.url.database))
        with database.reading() as session:
            session.execute(select(1))
    except (SQLAlchemyError, sqlite3.Error, OSError):
        return False
    return True


def _sqlite_takes_a_write(path: str) -> bool:
    """Commit one page. To begin a transaction, or to roll it back, needs no room on the disk."""
    with closing(
        sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=0.25)
    ) as connection:
        connection.isolation_level = None
        (number,) = connection.execute("PRAGMA user_version").fetchone()
        try:
            connection.execute(
                f"PRAGMA user_version = {(number + 1) % 2**16}"
            )  # nothing else uses it
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
    return True


def _postgres_takes_a_write(database: Database) -> bool:
    own_row = Process.name == f"bot@{socket.gethostname()}"
    with database.transaction() as session:
        session.execute(text("SET LOCAL statement_timeout = 800"))
        session.execute(text("SET LOCAL lock_timeout = 250"))
        is_standby = session.scalar(text("SELECT pg_is_in_recovery()"))
        if not is_standby:
            session.execute(update(Process).where(own_row).values(details=Process.details))
    return not is_standby


def _disk(database: Database) -> dict[str, Any] | None:
    """The disk of a SQLite database; None with another database or one in memory."""
    path = database.url.database if database.is_sqlite else None
    if not path or path == ":memory:":
        return None
    folder = Path(path).parent
    free = shutil.disk_usage(folder).free
    return {"up": free >= MIN_FREE_BYTES, "folder": str(folder), "free_bytes": free}


def parts(database: Database, broker_answers: bool) -> dict[str, dict[str, Any]]:
    """Each part of the installation and whether it is up; each queue is one, for its worker does nobody else's work."""
    found: dict[str, dict[str, Any]] = {
        "database": {"up": database_answers(database)},
        "broker": {"up": broker_answers},
    }
    with suppress(OSError):
        if disk := _disk(database):
            found["disk"] = disk
    reported: list[dict[str, Any]] = []
    if found["database"]["up"]:
        with database.reading() as session:
            reported = processes(session)
    for part in NEEDED:
        living = [one["name"] for one in reported if one["up"] and part in _parts_of(one["name"])]
        found[part] = {"up": bool(living), "processes": living}
    return found


def _parts_of(process: str) -> list[str]:
    """``worker:batch+interactive@host`` is the worker of two queues."""
    role, _, queues = process.partition("@")[0].partition(":")
    return [f"{role}:{queue}" for queue in queues.split("+")] if queues else [role]
