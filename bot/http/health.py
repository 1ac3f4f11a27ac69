"""Report the installation's state for `status`, ``/health`` and ``/metrics``."""

import shutil
import socket
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

from sqlalchemy import func, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from retention import clock, monitoring
from retention.connect.live import inbox
from retention.db import Database, Transaction
from retention.db.tables import DirectoryEntry, ImportLog, Job, ModelVersion, Outbox, Process
from retention.faults import MIN_FREE_BYTES
from workers.app import QUEUES

REQUIRED = (*(f"worker:{queue}" for queue in QUEUES), "tick", "sender")  # besides the bot
PROBE_SECONDS = 3.0  # how long the result of a write probe is cached
_PROBES: WeakKeyDictionary[Database, tuple[bool, float]] = WeakKeyDictionary()
LIVE_SECONDS = 120.0  # a live event that waits longer shows that the path is stalled
QUEUE_SECONDS = 120.0  # a longer wait is a problem
IMPORT_DAYS = 7  # an older last import of orders is a problem
JOB_STATES = ("queued", "running", "done", "failed", "cancelled")
OUTBOX_STATES = ("pending", "sending", "rate_limited", "ambiguous", "sent", "failed", "held")


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of jobs and posts by state."""

    jobs: dict[str, int]
    outbox: dict[str, int]
    oldest_queued_seconds: float


def counts(session: Transaction) -> Counts:
    """Count jobs and posts by state. A state without any counts 0."""
    oldest = session.scalar(
        select(func.min(Job.queued_at)).where(
            Job.team_id == session.settings.team_id, Job.state == "queued"
        )
    )
    return Counts(
        _by_state(session, Job, JOB_STATES),
        _by_state(session, Outbox, OUTBOX_STATES),
        max(0.0, (clock.wall() - oldest).total_seconds()) if oldest else 0.0,
    )


def _by_state(
    session: Transaction, table: type[Job] | type[Outbox], states: tuple[str, ...]
) -> dict[str, int]:
    rows = session.execute(
        select(table.state, func.count())
        .where(table.team_id == session.settings.team_id)
        .group_by(table.state)
    ).all()
    return {**dict.fromkeys(states, 0), **dict(rows)}


def overview(session: Transaction, database: Database) -> dict[str, Any]:
    """Return the data of the `status` command."""
    by_state = counts(session)
    models, data = champions(session), imported_data(session)
    running = processes(session)
    return {
        "now": clock.now().isoformat(),
        "problems": [
            *storage_problems(database),
            *problems(by_state, models, data, running, session.settings.short_keys),
        ],
        "models": models,
        "data": data,
        "jobs": by_state.jobs,
        "posts": {state: number for state, number in by_state.outbox.items() if state != "sent"},
        "oldest_queued_seconds": round(by_state.oldest_queued_seconds, 1),
        "processes": running,
        "demo": session.settings.demo,
    }


def storage_problems(database: Database) -> list[dict[str, Any]]:
    """Return why nothing can be stored: the codes ``disk_full`` and ``database_down``."""
    try:
        disk = _disk(database)
    except OSError:
        disk = None
    if disk and not disk["up"]:
        return [{"code": "disk_full", "number": disk["free_bytes"] // 1000}]
    return [] if database_answers(database) else [{"code": "database_down"}]


def problems(
    by_state: Counts,
    models: list[dict[str, Any]],
    data: dict[str, Any],
    running: list[dict[str, Any]],
    short_keys: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Return what else needs a person, the most severe first.

    Each has a ``code`` and, depending on it, ``name`` or ``number``. Codes: ``process_silent``,
    ``queue_slow``, ``posts_stuck``, ``key_short``, ``no_data``, ``data_old``, ``no_model``,
    ``model_decayed``.
    """
    found: list[dict[str, Any]] = [
        {"code": "process_silent", "name": one["role"]} for one in running if not one["up"]
    ]
    if by_state.oldest_queued_seconds > QUEUE_SECONDS:
        minutes = round(by_state.oldest_queued_seconds / 60)
        found.append({"code": "queue_slow", "number": minutes})
    if stuck := by_state.outbox["held"] + by_state.outbox["failed"]:
        found.append({"code": "posts_stuck", "number": stuck})
    found += [{"code": "key_short", "name": name} for name in short_keys]
    orders = next((one for one in data["imports"] if one["table"] == "events"), None)
    if orders is None:
        found.append({"code": "no_data"})
    elif (days := (clock.now() - datetime.fromisoformat(orders["at"])).days) > IMPORT_DAYS:
        found.append({"code": "data_old", "number": days})
    if not any(model["kind"] == "churn" for model in models):
        found.append({"code": "no_model"})
    found += [
        {"code": "model_decayed", "name": model["kind"]}
        for model in models
        if model["health"] and model["health"]["state"] == "decayed"
    ]
    return found


def champions(session: Transaction) -> list[dict[str, Any]]:
    """Return the champion of each kind of model."""
    versions = session.scalars(
        select(ModelVersion)
        .where(ModelVersion.team_id == session.settings.team_id, ModelVersion.state == "champion")
        .order_by(ModelVersion.kind)
    ).all()
    return [
        {
            "kind": model.kind,
            "version": model.version,
            "estimator": model.estimator,
            "cutoff": model.cutoff.isoformat(),
            "metrics": {
                name: value
                for name, value in model.metrics.items()
                if isinstance(value, int | float)
            },
            "health": monitoring.describe(check)
            if (check := monitoring.latest(session, model.version))
            else None,
        }
        for model in versions
    ]


def imported_data(session: Transaction) -> dict[str, Any]:
    """Return customers and imports by table."""
    logs = session.execute(
        select(ImportLog.table_name, func.max(ImportLog.at), func.count())
        .where(ImportLog.team_id == session.settings.team_id)
        .group_by(ImportLog.table_name)
        .order_by(ImportLog.table_name)
    ).all()
    customers = select(func.count()).select_from(DirectoryEntry)
    customers = customers.where(
        DirectoryEntry.team_id == session.settings.team_id, DirectoryEntry.canonical_id.is_(None)
    )
    return {
        "customers": session.scalar(customers) or 0,
        "imports": [
            {"table": name, "at": at.isoformat(), "imports": number} for name, at, number in logs
        ],
    }


def processes(session: Transaction) -> list[dict[str, Any]]:
    """Return the processes with their latest heartbeat."""
    now = clock.wall()
    rows = session.scalars(select(Process).order_by(Process.role, Process.name)).all()
    return [
        {
            "name": process.name,
            "role": process.role,
            "up": now - process.seen_at < Process.STALE_AFTER,
            "silent_seconds": max(0, round((now - process.seen_at).total_seconds())),
        }
        for process in rows
    ]


def database_answers(database: Database) -> bool:
    """Return whether the database takes a write.

    The result is cached for three seconds. The probe waits a quarter of a second for a lock. A
    busy database counts as up.
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
    """Commit one page.

    To begin or roll back a transaction needs no free disk space, so it would prove nothing.
    """
    with closing(
        sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=0.25)
    ) as connection:
        connection.isolation_level = None
        (number,) = connection.execute("PRAGMA user_version").fetchone()
        try:
            # Nothing else uses this number.
            connection.execute(f"PRAGMA user_version = {(number + 1) % 2**16}")
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
    """Return the disk of a SQLite file. It is None for another database."""
    path = database.url.database if database.is_sqlite else None
    if not path or path == ":memory:":
        return None
    folder = Path(path).parent
    free = shutil.disk_usage(folder).free
    return {"up": free >= MIN_FREE_BYTES, "folder": str(folder), "free_bytes": free}


def components(
    database: Database, broker_answers: bool, *, takes_events: bool = False
) -> dict[str, dict[str, Any]]:
    """Return each component's state.

    Each queue is a component, because no other worker takes over its work. So is the path of live
    events, if they can arrive.

    Returns: ``up`` and details by component.
    """
    components: dict[str, dict[str, Any]] = {
        "database": {"up": database_answers(database)},
        "broker": {"up": broker_answers},
    }
    with suppress(OSError):
        if disk := _disk(database):
            components["disk"] = disk
    reported: list[dict[str, Any]] = []
    if components["database"]["up"]:
        with database.reading() as session:
            reported = processes(session)
            waits = inbox.oldest_seconds(session) if takes_events else 0.0
    for component in (*REQUIRED, *(("live",) if takes_events else ())):
        alive = [
            process["name"]
            for process in reported
            if process["up"] and component in components_of(process["name"])
        ]
        components[component] = {"up": bool(alive), "processes": alive}
    if takes_events and components["database"]["up"]:
        # A live process that hangs still reports itself, and its events wait.
        live = components["live"]
        live |= {"up": live["up"] and waits < LIVE_SECONDS, "oldest_seconds": round(waits, 1)}
    return components


def components_of(process: str) -> list[str]:
    """Split ``worker:batch+interactive@host`` into the workers of two queues."""
    role, _, queues = process.partition("@")[0].partition(":")
    return [f"{role}:{queue}" for queue in queues.split("+")] if queues else [role]
