"""Valkey dies and comes back with or without its file, is full, or is slow, amid jobs.

Real workers, a tick and a sender use it. Lost: a job without a result 60 s after Valkey is back.
Doubled: a result seen twice.
"""

import os
import random
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import select

from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Job, Run
from retention.settings import Settings
from tests.faults.frame import Counts
from tests.standins.slack import StandIn
from tests.workers.harness import ADMIN, ask, running, wait
from tests.world import read, rows, scalars
from workers.delivery import outbox
from workers.job_requests import Sweep
from workers.queue import broker, jobs

KINDS = "killed", "killed with its file", "full", "slow"
BURST = 20  # outages before everything must recover
RECOVERY = 60.0  # seconds after Valkey is back
POSTING = 3.0  # seconds for each injection: a channel takes one of its two posts a second


class Valkey:
    """A server that can be killed, filled and slowed down."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, admins=ADMIN, broker_url="", _env_file=None)
        self.folder = home / "broker"
        self.process = self._start()

    @property
    def url(self) -> str:
        """As Celery writes it."""
        return broker.url(self.settings)

    def _start(self) -> subprocess.Popen[bytes]:
        command = broker.command(self.settings)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait(lambda: broker.is_reachable(self.settings), 60)
        return process

    def strike(self, kind: str, seconds: float) -> None:
        """Break it for some seconds, and bring it back."""
        if kind.startswith("killed"):
            self.process.kill()
            self.process.wait()
            if kind == "killed with its file":
                for file in [*self.folder.rglob("*.aof"), *self.folder.rglob("*.manifest")]:
                    file.unlink()
            time.sleep(seconds)
            self.process = self._start()
            return
        with broker._client(self.settings) as client:
            if kind == "full":
                client.config_set("maxmemory", "1")
                time.sleep(seconds)
                client.config_set("maxmemory", "0")
            else:
                client.client_pause(int(seconds * 1000))
                time.sleep(seconds)


def count_row(injections: int, seed: int) -> Counts:
    """Break Valkey so many times, in bursts, and count."""
    chance, counts = random.Random(seed), Counts()
    with tempfile.TemporaryDirectory(prefix="valkey") as home, StandIn.start(strict=False) as slack:
        valkey = Valkey(Path(home) / "v")
        os.environ.update({**slack.environment, "RETENTION_BROKER_URL": valkey.url})
        settings = Settings(home=Path(home) / "home", admins=ADMIN, _env_file=None)
        upgrade(settings)
        database = Database.of(settings)
        try:
            with running(settings, database, "worker", "tick", "sender"):
                while counts.injections < injections:
                    _burst(valkey, database, chance, counts, injections)
                is_posted = _waited(
                    lambda: not read(database, _undelivered), 120 + POSTING * injections
                )
                counts.expect(is_posted, "posts still wait")
        finally:
            valkey.process.kill()
            valkey.process.wait()
        _compare(database, slack, counts)
        database.dispose()
    return counts


def _burst(
    valkey: Valkey, database: Database, chance: random.Random, counts: Counts, injections: int
) -> None:
    asked: list[str] = []
    for _ in range(min(BURST, injections - counts.injections)):
        kind = KINDS[counts.injections % len(KINDS)]
        for part in "ab":
            job = ask(database, Sweep(top=1), f"{counts.injections}:{part}")
            jobs.wake(database.settings, job)
            asked.append(job.id)
            if part == "a":
                valkey.strike(kind, chance.uniform(0.1, 0.5))
        counts.inject()
    back = time.monotonic()

    def is_over() -> bool:
        own = Job.id.in_(asked), Job.state != "done"
        return not scalars(database, select(Job.id).where(*own))

    recovered = _waited(is_over, 2 * RECOVERY)
    seconds = time.monotonic() - back
    counts.expect(recovered and seconds <= RECOVERY, f"recovered in {seconds:.0f} s: {recovered}")


def _waited(found: object, seconds: float) -> bool:
    try:
        return bool(wait(found, seconds))  # type: ignore[arg-type]
    except AssertionError:
        return False


def _undelivered(session: object) -> int:
    return int(session.scalar(outbox.undelivered()) or 0)  # type: ignore[attr-defined]


def _compare(database: Database, slack: StandIn, counts: Counts) -> None:
    texts = Counter(message["text"].split(" (")[0] for message in slack.messages("crm"))
    published = Counter(scalars(database, select(Run.job_id)))
    own = Job.kind == "sweep"  # at night the tick asks for a job that tidies the lake
    for job_id, state in rows(database, select(Job.id, Job.state).where(own)):
        counts.expect(state == "done", f"job {job_id} is {state}")
        counts.expect_once(published[job_id], f"rows of {job_id}")
        counts.expect_once(texts[f"result of {job_id}"], f"result of {job_id}")
