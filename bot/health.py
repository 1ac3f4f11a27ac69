"""How the installation is: for `status`, for ``/health`` and for ``/metrics``. SQL only."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from retention import clock, monitoring
from retention.db import Database
from retention.db.tables import DirectoryEntry, ImportLog, Job, ModelVersion, Outbox, Process
from retention.settings import Settings
from workers.app import QUEUES
from workers.processes import STALE

NEEDED = (*(f"worker:{queue}" for queue in QUEUES), "tick", "sender")  # beside the bot itself
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
        select(func.min(Job.queued_at)).where(Job.team_id == settings.team_id, Job.state == "queued")
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
        select(table.state, func.count()).where(table.team_id == settings.team_id).group_by(table.state)
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
            "kind": one.kind, "version": one.version, "estimator": one.estimator,
            "cutoff": one.cutoff.isoformat(),
            "metrics": {name: value for name, value in one.metrics.items() if isinstance(value, int | float)},
            "health": monitoring.described(seen) if (seen := monitoring.latest(session, settings, one.version)) else None,
        }
        for one in found
    ]  # fmt: skip


def data(session: Session, settings: Settings) -> dict[str, Any]:
    """What has been imported, and how many customers are known."""
    logs = session.execute(
        select(ImportLog.table_name, func.max(ImportLog.at), func.count())
        .where(ImportLog.team_id == settings.team_id)
        .group_by(ImportLog.table_name)
        .order_by(ImportLog.table_name)
    ).all()
    known = select(func.count()).select_from(DirectoryEntry)
    known = known.where(DirectoryEntry.team_id == settings.team_id, DirectoryEntry.canonical_id.is_(None))
    return {
        "customers": session.scalar(known) or 0,
        "imports": [{"table": name, "at": at.isoformat(), "imports": number} for name, at, number in logs],
    }


def processes(session: Session) -> list[dict[str, Any]]:
    """Our processes, as they last reported themselves."""
    now = clock.wall()
    found = session.scalars(select(Process).order_by(Process.role, Process.name)).all()
    return [
        {
            "name": one.name, "role": one.role, "up": now - one.seen_at < STALE,
            "silent_seconds": max(0, round((now - one.seen_at).total_seconds())),
        }
        for one in found
    ]  # fmt: skip


def database_answers(database: Database) -> bool:
    """Whether the database does what it is there for."""
    try:
        with database.reading() as session:
            session.execute(select(1))
    except SQLAlchemyError:
        return False
    return True


def parts(database: Database, broker_answers: bool) -> dict[str, dict[str, Any]]:
    """Each part of the installation and whether it is up; each queue is one, for its worker does nobody else's work."""
    found: dict[str, dict[str, Any]] = {
        "database": {"up": database_answers(database)},
        "broker": {"up": broker_answers},
    }
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
