"""Measure the time from a command to its result, with and without a running `retrain`.

The memory of the idle processes is measured too. The demo desk runs on its real data. Samples of
both phases come from one run. Each request waits for the one before it, and each `score` names
another customer, so that no two requests are the same while one is under way.
"""

import math
import os
import shutil
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import psutil
from sqlalchemy import func, select

from retention.db import Database
from retention.db.tables import DirectoryEntry, Job, ModelVersion, Outbox
from tests.benchmarks.measure import FOLDER, Figure, against, alone, settings
from tests.end_to_end.playground_client import PlaygroundClient, demo
from workers.delivery import outbox
from workers.queue import idle_exit, jobs

HOME = "queues"
SAMPLES = 30  # of each command in each phase
MOST_RATIO = 2.0
MOST_IDLE = 1024.0  # MiB, of all processes
PATIENCE = 1800.0  # seconds for one job
COMMANDS = {"digest": "digest now", "campaign_draft": "campaign draft", "score": "score {customer}"}


def queues() -> dict[str, Figure]:
    """Measure one desk from its first start to its rest after training."""
    home = FOLDER / HOME
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    with demo(home, log=FOLDER / "queues.log") as desk:
        bench = _Bench(desk, Database.of(settings(HOME)))
        time.sleep(10)
        fresh = idle_memory()
        bench.train_once()
        bench.round()  # imports the libraries
        alone_first = bench.rounds(SAMPLES // 2)
        training = bench.rounds_during_training(SAMPLES)
        alone_last = bench.rounds(SAMPLES - SAMPLES // 2)
        time.sleep(idle_exit.IDLE_SECONDS + 15)
        after = idle_memory()
    figures: dict[str, Figure] = {}
    for kind in COMMANDS:
        without = alone_first[kind] + alone_last[kind]
        for share in (50, 95):
            most = MOST_RATIO if share == 95 else None
            during, before = percentile(training[kind], share), percentile(without, share)
            figures[f"queue_{kind}_p{share}"] = against(during, "s", before, most=most)
    figures["queue_trainings"] = alone(bench.trainings, "trainings")
    figures["idle_memory"] = alone(fresh / 2**20, "MiB", most=MOST_IDLE)
    figures["idle_memory_after"] = alone(after / 2**20, "MiB", most=MOST_IDLE)
    return figures


class _Bench:
    """A person at the desk who waits for each result."""

    def __init__(self, desk: PlaygroundClient, database: Database) -> None:
        self._desk, self._database = desk, database
        self._customers = self._directory()
        self.trainings = 0

    def _directory(self) -> Iterator[str]:
        with self._database.reading() as session:
            ids = session.scalars(
                select(DirectoryEntry.customer_id).order_by(DirectoryEntry.customer_id)
            ).all()
        return cycle(ids[:: max(1, len(ids) // 500)])

    def train_once(self) -> None:
        """Bring models into use: without them the commands fall back to rules and cost less."""
        self._finish(self._ask("retrain", "retrain"))
        with self._database.reading() as session:
            champions = session.scalar(
                select(func.count())
                .select_from(ModelVersion)
                .where(ModelVersion.state == "champion")
            )
        assert champions == 2, f"{champions} models in use after the first training"

    def rounds(self, count: int) -> dict[str, list[float]]:
        """Measure each command this many times, in turns."""
        seconds: dict[str, list[float]] = {kind: [] for kind in COMMANDS}
        for _ in range(count):
            for kind, value in self.round().items():
                seconds[kind].append(value)
        return seconds

    def rounds_during_training(self, count: int) -> dict[str, list[float]]:
        """Measure each command this many times.

        Only samples that began and ended during a training count.
        """
        seconds: dict[str, list[float]] = {kind: [] for kind in COMMANDS}
        training = ""
        while min(map(len, seconds.values())) < count:
            if not training or self._state(training) not in jobs.OPEN:
                training = self._ask("retrain", "retrain")
                self._until_running(training)
                self.trainings += 1
            for kind in COMMANDS:
                value = self._sample(kind)
                if self._state(training) == "running":
                    seconds[kind].append(value)
        self._finish(training)
        return {kind: values[:count] for kind, values in seconds.items()}

    def round(self) -> dict[str, float]:
        return {kind: self._sample(kind) for kind in COMMANDS}

    def _sample(self, kind: str) -> float:
        text = COMMANDS[kind].format(customer=next(self._customers))
        began = time.perf_counter()
        self._finish(self._ask(kind, text))
        return time.perf_counter() - began

    def _ask(self, kind: str, text: str) -> str:
        """Type a command; return the id of its job."""
        newest = select(Job.id).where(Job.kind == kind).order_by(Job.created_at.desc()).limit(1)
        with self._database.reading() as session:
            before = session.scalar(newest)
        answer = self._desk.command("admin", text)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with self._database.reading() as session:
                job_id = session.scalar(newest)
            if job_id is not None and job_id != before:
                return job_id
            time.sleep(0.02)
        raise RuntimeError(f"{text!r} was not accepted: {answer}")

    def _finish(self, job_id: str) -> None:
        """Wait until Slack shows the result."""
        until = time.monotonic() + PATIENCE
        under_way = (
            select(func.count())
            .where(Outbox.job_id == job_id, Outbox.state.in_(outbox.UNDELIVERED))
            .select_from(Outbox)
        )
        while time.monotonic() < until:
            if self._state(job_id) not in jobs.OPEN:
                with self._database.reading() as session:
                    if not session.scalar(under_way):
                        break
            time.sleep(0.05)
        with self._database.reading() as session:
            job = session.get_one(Job, job_id)
        if job.state != "done":
            raise RuntimeError(f"job {job_id} ({job.kind}) is {job.state}: {job.error}")

    def _state(self, job_id: str) -> str:
        with self._database.reading() as session:
            return session.scalars(select(Job.state).where(Job.id == job_id)).one()

    def _until_running(self, job_id: str) -> None:
        until = time.monotonic() + 60
        while self._state(job_id) == "queued" and time.monotonic() < until:
            time.sleep(0.05)


def percentile(values: list[float], share: int) -> float:
    """Return the smallest value that this share (in percent) of the values does not exceed."""
    return sorted(values)[math.ceil(len(values) * share / 100) - 1]


def idle_memory() -> float:
    """Return the bytes of all child processes, with shared pages counted once (summed PSS)."""
    return sum(_pss(child.pid) for child in psutil.Process(os.getpid()).children(recursive=True))


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except (OSError, ProcessLookupError):  # it has ended meanwhile
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
