"""Record which processes are alive.

Each process reports itself in the database every few seconds.
"""

import hashlib
import logging
import os
import socket
import threading
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from retention import clock
from retention.db import Database, Transaction
from retention.db.insert import upsert
from retention.db.tables import Process

log = logging.getLogger(__name__)

REPORT_EVERY = 10.0  # seconds


def report(database: Database, role: str, **details: Any) -> None:
    """Report that this process is alive.

    Never raises, because a process must survive while the database is down.
    """
    details = {"pid": os.getpid(), "host": socket.gethostname(), "memory": _memory(), **details}
    try:
        with database.transaction() as session:
            upsert(
                session,
                Process,
                {"name": f"{role}@{socket.gethostname()}"},
                team_id=database.settings.team_id,
                role=role.partition(":")[0],
                seen_at=clock.wall(),
                details=details,
            )
    except SQLAlchemyError as error:
        log.warning("cannot report that %s lives: %s", role, error)


def _memory() -> int:
    """Return the bytes of this process and its children; those that just ended count as none."""
    total, own = 0, psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def keep_reporting(database: Database, role: str, stop: threading.Event) -> threading.Thread:
    """Report in a thread every few seconds, until ``stop`` is set."""

    def run() -> None:
        while not stop.is_set():
            report(database, role)
            stop.wait(REPORT_EVERY)

    thread = threading.Thread(target=run, name="report", daemon=True)
    thread.start()
    return thread


def alive(session: Transaction, now: datetime | None = None) -> dict[str, Process]:
    """Return recently reported processes by name.

    The name is ``role[:queue]@host``.
    """
    since = (now or clock.wall()) - Process.STALE_AFTER
    rows = session.scalars(select(Process).where(Process.seen_at >= since).order_by(Process.name))
    return {row.name: row for row in rows}


def worker_name(task: str, pid: int | None = None) -> str:
    """Return a process's worker name, ``task@host:pid:start:place``; this process by default."""
    pid = pid or os.getpid()
    return f"{task}@{socket.gethostname()}:{pid}:{_start(pid)}:{place()}"


@cache
def place() -> str:
    """Return the id of the space in which this process's number is unique.

    Containers can have equal host names, and numbers of processes that mean others elsewhere.
    """
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text("ascii"), _namespace()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def is_gone(worker: str) -> bool:
    """Return whether a worker is dead; of another place, only the lease of its job can tell."""
    _, *parts = worker.rsplit(":", 3)
    if len(parts) != 3 or parts[2] != place():
        return False  # also a worker of an earlier version
    pid, start, _ = parts
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return start != _start(int(pid))  # another process has its number


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def _start(pid: int) -> str:
    """Return when a process began, in ticks since the machine's start; empty if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return stat.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
