"""Helpers: requests of people, real processes and waiting."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update

from retention.db import Database
from retention.db.tables import Job, Outbox, RoleGrant
from retention.settings import Settings
from workers.delivery.job_messages import failure_key
from workers.job_requests import Request
from workers.queue import jobs, live_processes
from workers.queue.supervisor import Supervisor

STAND_INS = Path(__file__).parent / "stand_in_tasks"
ANALYST, OTHER, ADMIN, VIEWER = "U0ANALYST", "U0LEAD", "U0ADMIN", "U0VIEWER"
CHANNEL, PRIVATE = "C0CRM", "C0PRIVATE"


def ask(
    database: Database,
    request: Request,
    key: str,
    *,
    user: str = ADMIN,
    channel: str | None = CHANNEL,
    announce: bool = True,
    thread_key: str | None = None,
) -> Job:
    """Submit in its own transaction, unpublished and without limits."""
    asked = {"requested_by": user, "channel": channel, "thread_key": thread_key}
    with database.transaction() as session:
        return jobs.submit_due(session, request, key, announce=announce, **asked).job


def job(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return session.get_one(Job, job_id)


def grant(settings: Settings, user: str, role: str) -> RoleGrant:
    return RoleGrant(team_id=settings.team_id, user_id=user, role=role, granted_by=ADMIN)


def job_row(settings: Settings, name: str, request: Request, **values: Any) -> Job:
    """A job as if somebody had asked for it."""
    asked = {"id": name, "idem_key": name, "team_id": settings.team_id, "requested_by": ADMIN}
    args = request.model_dump(mode="json")
    return Job(kind=request.kind, queue=request.queue, args=args, **{**asked, **values})


def row(database: Database, key: str) -> Outbox:
    with database.reading() as session:
        return session.scalars(select(Outbox).where(Outbox.key == key)).one()


def counted(database: Database, table: Any) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def failure(database: Database, job_id: str) -> Outbox:
    """The report of the newest attempt's failure."""
    return row(database, failure_key(job(database, job_id)))


def posted(database: Database, job_id: str) -> None:
    """Note that Slack has the job's own message."""
    with database.transaction() as session:
        own = Outbox.key == f"job:{job_id}"
        session.execute(
            update(Outbox).where(own).values(state="sent", ts="1.0", channel_id=CHANNEL)
        )


def set_job(database: Database, job_id: str, **values: Any) -> None:
    with database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**values))


def wait(found: Callable[[], Any], seconds: float = 120) -> Any:
    """The first truthy answer."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := found():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s for {found}")


def over(database: Database, job_id: str, seconds: float = 120) -> Job:
    """The job, once it has ended."""
    return wait(
        lambda: (stored := job(database, job_id)).state not in jobs.OPEN and stored, seconds
    )


@contextmanager
def running(
    settings: Settings, database: Database, *roles: str, stand_ins: Path = STAND_INS
) -> Iterator[Supervisor]:
    """Run a small installation of real processes, and stop it at the end.

    Parameters
    ----------
    stand_ins : Path
        A folder with a ``sitecustomize.py`` that replaces parts of the workers.
    """
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(stand_ins)
    try:
        supervisor = Supervisor(settings, roles)
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    stop = threading.Event()
    thread = threading.Thread(target=supervisor.run, args=(stop,))
    thread.start()
    try:
        wait(lambda: _ready(database, supervisor), 120)
        yield supervisor
    finally:
        stop.set()
        thread.join()


def _ready(database: Database, supervisor: Supervisor) -> bool:
    with database.reading() as session:
        alive = {name.partition("@")[0] for name in live_processes.alive(session)}
    return {
        child.name for child in supervisor.children if child.name not in ("broker", "bot")
    } <= alive
