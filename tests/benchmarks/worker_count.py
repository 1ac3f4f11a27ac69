"""``python -m tests.benchmarks.worker_count``: how long jobs wait, and how many workers they need.

A queue simulation is checked against a desk. The demo gets `score` jobs at random moments (Poisson)
at several rates. The simulation gets the moments and the durations of the same jobs and computes
their waits. It then answers what no single machine can show: the workers that higher rates need.
"""

import argparse
import heapq
import json
import math
import random
import shutil
import time
from collections.abc import Sequence
from itertools import cycle
from uuid import uuid4

from sqlalchemy import func, select

from retention.db import Database
from retention.db.tables import DirectoryEntry, Job
from tests.benchmarks.measure import FOLDER, settings
from tests.benchmarks.queues import percentile
from tests.end_to_end.playground_client import PlaygroundClient, demo
from workers.job_requests import Score
from workers.queue import jobs

SLOTS = 2  # jobs that the demo's interactive worker runs at once
RATES = (0.2, 0.4, 0.6, 2.0)  # jobs in a second; the last one is more than it can do
SECONDS = 150  # for each rate
NEEDED = (0.1, 1, 5, 20, 100)  # jobs in a second
MOST_WAIT = 5.0  # seconds that 95 of 100 jobs wait at most
SIMULATED = 20_000  # jobs


def waits(arrivals: Sequence[float], durations: Sequence[float], workers: int) -> list[float]:
    """Return how long each job waits if free workers take the jobs in their order."""
    free = [0.0] * workers
    result = []
    for arrival, duration in zip(arrivals, durations, strict=True):
        start = max(arrival, heapq.heappop(free))
        heapq.heappush(free, start + duration)
        result.append(start - arrival)
    return result


def workers_needed(rate: float, durations: Sequence[float]) -> int:
    """Return the fewest workers with which 95 of 100 jobs wait at most `MOST_WAIT` seconds.

    `rate`: jobs in a second, at random moments.
    `durations`: measured seconds, drawn with replacement.
    """
    rng = random.Random(1)
    arrivals, taken = _moments(rng, rate, SIMULATED), rng.choices(durations, k=SIMULATED)
    workers = max(1, math.ceil(rate * sum(durations) / len(durations)))
    while percentile(waits(arrivals, taken, workers), 95) > MOST_WAIT:
        workers += 1
    return workers


def _moments(rng: random.Random, rate: float, count: int) -> list[float]:
    moment, moments = 0.0, []
    for _ in range(count):
        moment += rng.expovariate(rate)
        moments.append(moment)
    return moments


class _Desk:
    """The demo, whose jobs come from here."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.reading() as session:
            ids = session.scalars(
                select(DirectoryEntry.customer_id).order_by(DirectoryEntry.customer_id)
            )
            self._customers = cycle(ids.all())

    def run(self, rate: float) -> list[tuple[float, float, float]]:
        """Submit jobs; return the moments of arrival, start and end of each, in their order."""
        rng, run = random.Random(7), uuid4().hex
        began = time.monotonic()
        for number, moment in enumerate(_moments(rng, rate, math.ceil(rate * SECONDS))):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            request = Score(customer_id=next(self._customers))
            with self._database.transaction() as session:
                job = jobs.submit_due(session, request, f"{run}:{number}").job
            jobs.wake(self._database.settings, job)
        return self._finished(run)

    def _finished(self, run: str) -> list[tuple[float, float, float]]:
        ours = Job.idem_key.startswith(f"{run}:")
        still_open = select(func.count()).select_from(Job).where(ours, Job.state.in_(jobs.OPEN))
        while True:
            with self._database.reading() as session:
                if not session.scalar(still_open):
                    break
            time.sleep(0.5)
        with self._database.reading() as session:
            rows = session.execute(
                select(Job.queued_at, Job.started_at, Job.finished_at, Job.state)
                .where(ours)
                .order_by(Job.queued_at)
            ).all()
        assert all(state == "done" for *_, state in rows), rows
        return [tuple(at.timestamp() for at in moments) for *moments, _ in rows]


def main() -> None:
    """Print both tables."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    home = FOLDER / "worker_count"
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    found = {}
    with demo(home, log=FOLDER / "worker_count.log") as client:
        _train(client, Database.of(settings("worker_count")))
        desk = _Desk(Database.of(settings("worker_count")))
        for rate in RATES:
            found[rate] = desk.run(rate)
            row = _row(rate, found[rate])
            print(json.dumps(row), flush=True)
    durations = [end - start for rate in RATES[:-1] for _, start, end in found[rate]]
    for rate in NEEDED:
        print(json.dumps({"rate": rate, "workers": workers_needed(rate, durations)}), flush=True)


def _train(client: PlaygroundClient, database: Database) -> None:
    """Bring a model into use: without one a job costs less."""
    client.command("admin", "retrain")
    training = (
        select(Job.state).where(Job.kind == "retrain").order_by(Job.created_at.desc()).limit(1)
    )
    state = None
    while state != "done":
        time.sleep(1)
        with database.reading() as session:
            state = session.scalar(training)
        assert state not in ("failed", "cancelled")


def _row(rate: float, jobs_done: list[tuple[float, float, float]]) -> dict[str, float]:
    """Return a rate's waits, measured and simulated."""
    measured = [start - arrival for arrival, start, _ in jobs_done]
    durations = [end - start for _, start, end in jobs_done]
    simulated = waits([arrival for arrival, *_ in jobs_done], durations, SLOTS)
    row = {"rate": rate, "jobs": len(measured), "duration": sum(durations) / len(durations)}
    for share in (50, 95):
        row[f"measured_{share}"] = percentile(measured, share)
        row[f"simulated_{share}"] = percentile(simulated, share)
    return {name: round(value, 2) for name, value in row.items()}


if __name__ == "__main__":
    main()
