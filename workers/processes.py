"""Record which processes are alive.

Each process reports itself in the database every few seconds.
"""

import logging
import os
import socket
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from retention import clock
from retention.db import Database
from retention.db.insert import upsert
from retention.db.tables import Process
from retention.settings import Settings

log = logging.getLogger(__name__)

REPORT_EVERY = 10.0  # seconds
STALE_AFTER = timedelta(seconds=45)


def report(database: Database, settings: Settings, role: str, **details: Any) -> None:
    """Report that this process is alive.

    Never raises, because a process must survive while the database is down.

    Parameters
    ----------
    database : Database
        Holds jobs, campaigns and messages.
    settings : Settings
        Of the installation.
    role : str
        Role, for workers with the queue.
    **details : Any
        Further values for ``/health``.
    """
    details = {"pid": os.getpid(), "host": socket.gethostname(), **details}
    try:
        with database.transaction() as session:
            upsert(
                session,
                Process,
                {"name": f"{role}@{socket.gethostname()}"},
                team_id=settings.team_id,
                role=role.partition(":")[0],
                seen_at=clock.wall(),
                details=details,
            )
    except SQLAlchemyError as error:
        log.warning("cannot report that %s lives: %s", role, error)


def alive(session: Session, now: datetime | None = None) -> dict[str, Process]:
    """Return recently reported processes by name.

    The name is ``role[:queue]@host``.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    now : datetime, optional
        By default the wall clock.

    Returns
    -------
    dict
        Processes by name.
    """
    since = (now or clock.wall()) - STALE_AFTER
    rows = session.scalars(select(Process).where(Process.seen_at >= since).order_by(Process.name))
    return {row.name: row for row in rows}


def worker_name(task: str) -> str:
    """Return this process's worker name, ``task@host:pid``."""
    return f"{task}@{socket.gethostname()}:{os.getpid()}"


def is_gone(worker: str) -> bool:
    """Return whether a worker is dead.

    This can only be known on this host.
    """
    _, _, place = worker.partition("@")
    host, _, pid = place.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
