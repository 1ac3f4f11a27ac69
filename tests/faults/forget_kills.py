"""Kill the job that erases a customer, and count what is left of them.

Each job is a process that ends with SIGKILL at a random moment; the next attempt goes on. Lost: an
erasure that ended without its entry in the log or with rows of the customer in lake or database.
Doubled: an erasure that the log has twice.
"""

import random
import time
from typing import Any

import pandas as pd
from sqlalchemy import select

from retention import erasure
from retention.db import Database
from retention.db.tables import Audit, DirectoryEntry, Erasure, Job
from retention.lake import Lake
from retention.privacy import pseudonym
from retention.settings import Settings
from tests.faults import killed_jobs
from tests.faults.frame import Counts
from tests.world import add, read, scalars
from workers.job_requests import Forget

MODULES = "tests.faults.forget_kills", "workers.tasks.customers.forget", "retention.lake"
KILLS_EACH = 2  # of a customer, before the job may end
MOST_ATTEMPTS = 10


def count_row(injections: int, seed: int) -> Counts:
    """Kill so many erasures, and count."""
    chance, counts, number, longest = random.Random(seed), Counts(), 0, 1.0
    with killed_jobs.installation(*MODULES) as (settings, database):
        while counts.injections < injections:
            number += 1
            customer = f"forgotten{number}"
            _bring(settings, database, customer)
            before = _audited(database)
            for _ in range(KILLS_EACH):
                job = killed_jobs.start(settings, database, Forget(customer_id=customer), _prepare)
                counts.inject(hit=job.kill_after(chance.uniform(0, longest)))
            began = time.monotonic()
            state = _end(settings, database, customer)
            longest = min(max(time.monotonic() - began, 0.2), 2.0)
            counts.expect(state == "done", f"erasure of {customer} is {state}")
            _compare(settings, database, customer, counts)
            counts.expect(_audited(database) > before, f"erasure of {customer} is not in the log")
    return counts


def _prepare(_told: Any) -> None:
    """Begin at once."""


def _bring(settings: Settings, database: Database, customer: str) -> None:
    people = {"customer_id": [customer], "name": [customer], "email": [f"{customer}@example.com"]}
    Lake.open(settings).upsert("customers", pd.DataFrame(people))
    row = DirectoryEntry(customer_id=customer, pseudonym=pseudonym(settings.key, customer))
    add(database, row)


def _end(settings: Settings, database: Database, customer: str) -> str:
    """Ask again until the erasure ends; the operator does so, too."""
    for _ in range(MOST_ATTEMPTS):
        job = killed_jobs.start(settings, database, Forget(customer_id=customer), _prepare)
        job.process.join()
        (state,) = scalars(database, select(Job.state).where(Job.id == job.job_id))
        if state == "done":
            return str(state)
    return str(state)


def _audited(database: Database) -> int:
    return len(scalars(database, select(Audit.id).where(Audit.action.like("%forget%"))))


def _compare(settings: Settings, database: Database, customer: str, counts: Counts) -> None:
    customers = Lake.open(settings).table("customers", identity="stored")
    left = customers.filter(customers.customer_id == customer).count().execute()
    counts.expect(not int(left), f"{customer} is in the lake")
    rows = read(database, erasure.remaining_rows, [customer])
    counts.expect(not rows, f"{customer} has {rows} rows")
    counts.expect(
        bool(scalars(database, select(Erasure))), f"{customer} may come back by an import"
    )
