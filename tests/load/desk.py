"""A desk of real processes under load, its samples, and its losses."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil
from sqlalchemy import func, select

from bot.playground import demo, seed
from bot.playground.server import free_port
from retention.audiences.plain import understand
from retention.audiences.store import Counted, save
from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import DirectoryEntry, Job, JobJoin, Outbox
from retention.demo import START
from retention.demo.journey import prepare
from retention.settings import Settings
from tests.benchmarks.measure import BUILD
from tests.benchmarks.queues import _pss
from tests.workers.harness import running, wait
from workers.delivery import outbox
from workers.queue import jobs
from workers.queue.supervisor import Child, Supervisor, _command

QUEUE_EVERY, MEMORY_EVERY = 1.0, 5.0  # seconds
HOME = BUILD / "load" / "home"
PROCESSES = "bot", "worker", "tick", "sender"


@dataclass
class Samples:
    """Samples of a running desk; times are seconds since the run began."""

    queue: list[tuple[float, int, int]] = field(default_factory=list)  # at, open jobs, posts
    memory: list[tuple[float, dict[str, float]]] = field(default_factory=list)  # at, process → MiB


@dataclass
class Desk:
    """A running desk."""

    settings: Settings
    database: Database
    supervisor: Supervisor
    store: Path
    customers: list[str]
    samples: Samples = field(default_factory=Samples)

    @contextmanager
    def sampled(self, began: float) -> Iterator[None]:
        """Sample queue and memory until the block ends."""
        stop = threading.Event()

        def run() -> None:
            measured = float("-inf")
            while not stop.wait(QUEUE_EVERY):
                at = time.monotonic() - began
                self.samples.queue.append((at, *self._waiting()))
                if at - measured >= MEMORY_EVERY:
                    measured = at
                    self.samples.memory.append((at, self._memory()))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _waiting(self) -> tuple[int, int]:
        with self.database.reading() as session:
            is_open = select(func.count()).where(Job.state.in_(jobs.OPEN)).select_from(Job)
            return session.scalar(is_open) or 0, session.scalar(outbox.undelivered()) or 0

    def _memory(self) -> dict[str, float]:
        found = {}
        for child in self.supervisor.children:
            if child.process is not None:
                own = psutil.Process(child.process.pid)
                pids = [own.pid, *(each.pid for each in own.children(recursive=True))]
                found[child.name] = sum(map(_pss, pids)) / 2**20
        return found

    def settle(self, seconds: float) -> bool:
        """Wait until no job is open and every post has reached Slack."""
        try:
            return bool(wait(lambda: self._waiting() == (0, 0), seconds))
        except AssertionError:
            return False

    def losses(self, promised: list[str]) -> list[str]:
        """Return a line for each promise that was not kept, and each message that came twice.

        `promised`: triggers of commands whose answer promised a result.
        """
        with self.database.reading() as session:
            kept = {key: (job, state) for key, job, state in session.execute(_KEYS)}
            joined = {
                key: (job, state)
                for key, job, state in session.execute(
                    select(JobJoin.idem_key, Job.id, Job.state).join(Job, Job.id == JobJoin.job_id)
                )
            }
            posts = session.execute(_POSTS).all()
        found = [joined.get(f"command:{each}") or kept.get(f"command:{each}") for each in promised]
        lines = [f"{t}: no job" for t, job in zip(promised, found, strict=True) if job is None]
        answered = {job_id for _, state, job_id, _ in posts if state == "sent"}
        for job_id, state in sorted({job for job in found if job is not None}):
            if state != "done":
                lines.append(f"job {job_id} is {state}")
            elif job_id not in answered:
                lines.append(f"job {job_id} has no message")
        shown = self._shown()
        lines += [f"{key} is {state}" for key, state, *_ in posts if state != "sent"]
        messages = [key for key, state, _, kind in posts if (state, kind) == ("sent", "message")]
        return lines + [
            f"{key} is {shown[key]} times in Slack" for key in messages if shown[key] != 1
        ]

    def _shown(self) -> Counter[str]:
        """Count the messages in Slack by the key that each carries."""
        with sqlite3.connect(self.store) as store:
            bodies = store.execute("SELECT body FROM things WHERE kind = 'message'").fetchall()
        metadata = [json.loads(body)["metadata"] or {} for (body,) in bodies]
        return Counter(each.get("event_payload", {}).get("key") for each in metadata)


_KEYS = select(Job.idem_key, Job.id, Job.state)
_POSTS = select(Outbox.key, Outbox.state, Outbox.job_id, Outbox.kind)


@contextmanager
def running_desk(*, trained: bool = True) -> Iterator[Desk]:
    """Run bot, four workers, tick, sender, Valkey and a fake Slack over the demo's data."""
    with tempfile.TemporaryDirectory(prefix="load") as folder, _slack(Path(folder)) as api_url:
        settings = _settings(Path(folder) / "home", api_url)
        database = Database(settings.database_url.get_secret_value(), settings)
        _open_shop(settings, database, trained=trained)
        customers = _people_of_the_shop(database)
        with running(settings, database, *PROCESSES, stand_ins=Path(folder) / "none") as supervisor:
            supervisor.children.append(_second_batch_worker())
            desk = Desk(settings, database, supervisor, Path(folder) / "slack.db", customers)
            wait(lambda: _answers("GET", f"http://127.0.0.1:{settings.port}/health/ready"), 120)
            yield desk
        database.dispose()


def _open_shop(settings: Settings, database: Database, *, trained: bool) -> None:
    """Load the demo's data, and bring models into use: without them, jobs learn each time.

    A trained home on SQLite is kept in build/load for the next run.
    """
    is_kept = trained and database.is_sqlite
    if is_kept and HOME.exists():
        shutil.copytree(HOME, settings.home, dirs_exist_ok=True)
        upgrade(settings)
        return
    upgrade(settings)
    prepare(database)
    demo._seed(database)
    if trained:
        own = {"RETENTION_HOME": str(settings.home), "RETENTION_DEMO": "true"}
        own["RETENTION_POLICY"] = str(settings.policy)
        command = [sys.executable, "-m", "bot.terminal", "retrain"]
        subprocess.run(command, env=os.environ | own, check=True, stdout=subprocess.DEVNULL)
    if is_kept:
        database.engine.dispose()
        shutil.copytree(settings.home, HOME)


def _settings(home: Path, api_url: str) -> Settings:
    return Settings(
        home=home,
        demo=True,
        admins="U0ADMIN",
        default_role="analyst",
        timezone=seed.TIMEZONE,
        policy=demo.POLICY,
        port=free_port(),
        health_port=free_port(),
        slack_bot_token=seed.BOT_TOKEN,
        slack_signing_secret=seed.SIGNING_SECRET,
        slack_api_url=api_url,
        _env_file=None,
    )


def _people_of_the_shop(database: Database) -> list[str]:
    """Save the audience that the mix asks for, and return the customers' ids."""
    with database.transaction() as session:
        expression = understand("orders > 10")
        save(session, "regulars", expression, counted=Counted(0, START), by="U0ADMIN")
    with database.reading() as session:
        return list(session.scalars(select(DirectoryEntry.customer_id).order_by("customer_id")))


def _second_batch_worker() -> Child:
    command = _command("worker", ("batch",))
    return Child("worker:batch 2", [part.replace("=batch@", "=batch2@") for part in command])


@contextmanager
def _slack(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "tests.load.slack", str(port), str(folder / "slack.db")]
    process = subprocess.Popen(command)
    try:
        api_url = f"http://127.0.0.1:{port}/api/"
        wait(lambda: _answers("POST", f"{api_url}api.test"), 60)
        yield api_url
    finally:
        process.terminate()
        process.wait(20)


def _answers(method: str, url: str) -> bool:
    try:
        return httpx2.request(method, url, timeout=5).is_success
    except httpx2.TransportError:
        return False
