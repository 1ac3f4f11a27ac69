"""Kill the pull of a source, and count.

Each pull is a process that ends with SIGKILL at a random moment, while its database gets new rows.
Every second kill comes around the moment after the import and before the watermark is stored.
In the end the lake is compared with the database.

Lost: an order of the database that the lake has not. Doubled: an order that the lake has twice.
"""

import random
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from retention.connect.sources import source_records
from retention.db import Database
from retention.lake import Lake
from retention.settings import Settings
from tests.faults import killed_jobs
from tests.faults.frame import Counts
from tests.world import change, read
from workers.job_requests import SourcePull
from workers.tasks.data import source_pull

NEW_ROWS = 30  # between two pulls
PAUSE = 0.05  # seconds between import and watermark
START = datetime(2025, 7, 1, tzinfo=UTC)
MAP = """[events]
customer_id = "customer"
occurred_at = "at"
order_id    = "id"
amount      = "paid"
event_type  = { value = "purchase" }
"""
JOB_MODULES = (
    "tests.faults.source_kills",
    "workers.tasks.data.source_pull",
    "retention.connect.sources.pulling",
)


@dataclass(frozen=True, slots=True)
class PullCounts:
    """What the lake has in the end."""

    kills: int
    between: int  # kills after the import and before the watermark was stored
    orders: int
    lost: int
    doubled: int

    @property
    def line(self) -> str:
        """One row of the table."""
        return (
            f"{'orders of a source':32} {self.orders:4}   "
            f"(kills {self.kills}, of them between import and watermark {self.between}, "
            f"lost {self.lost}, doubled {self.doubled})"
        )


def count(kills: int, seed: int) -> PullCounts:
    """Kill pulls so many times, and count.

    Parameters
    ----------
    kills : int
        Processes to kill.
    seed : int
        Of the random moments.
    """
    chance, killed, between, orders = random.Random(seed), 0, 0, 0
    with killed_jobs.installation(*JOB_MODULES) as (settings, database):
        url = f"sqlite:///{settings.home}/shop.db"
        shop = sa.create_engine(url)
        with shop.begin() as connection:
            connection.execute(sa.text("CREATE TABLE orders (id, customer, at, paid, changed)"))
        _add_source(database, url)
        longest = 0.0
        while killed < kills:
            orders = _add_orders(shop, orders)
            if not longest:
                longest = _pulled(database, settings, None)[1]
                longest = min(longest, 3.0)
                continue
            before = _state(database, settings)
            near_import = killed % 2 == 1
            moment = chance.uniform(0, 2 * PAUSE if near_import else longest)
            was_killed = _pulled(database, settings, moment, near_import=near_import)[0]
            after = _state(database, settings)
            killed += was_killed
            between += was_killed and after[0] > before[0] and after[1] == before[1]
            if chance.random() < 0.2:
                _pulled(database, settings, None)
        _pulled(database, settings, None)
        stored = Lake.open(settings).table("events").select("order_id").execute()["order_id"]
        shop.dispose()
    times = Counter(stored)
    lost = sum(f"o{number}" not in times for number in range(orders))
    return PullCounts(killed, between, orders, lost, sum(number > 1 for number in times.values()))


def count_row(injections: int, seed: int) -> Counts:
    """Count for the harness."""
    kills = count(injections, seed)
    return Counts.of_kills(kills, "orders", killed_jobs.attempts["kills"])


def _add_source(database: Database, url: str) -> None:
    new = source_records.NewSource(
        "orders",
        "query",
        url,
        "hour",
        "UTC",
        START,
        query="SELECT * FROM orders",
        watermark_column="changed",
        table_name="events",
        map_text=MAP,
        secrets={"url": url},
    )
    change(database, source_records.add, new, by="U0ADMIN")


def _state(database: Database, settings: Settings) -> tuple[int, dict[str, Any]]:
    """Return the number of events, and the watermark."""
    watermark = dict(read(database, source_records.find, "orders").watermark)
    return int(Lake.open(settings).table("events").count().execute()), watermark


def _add_orders(shop: sa.Engine, orders: int) -> int:
    """Add rows; some share a value of the watermark with older ones."""
    insert = sa.text("INSERT INTO orders VALUES (:id, :customer, :at, 1.5, :changed)")
    rows = [
        {
            "id": f"o{number}",
            "customer": f"c{number % 50}",
            "at": f"{START + timedelta(minutes=number):%Y-%m-%d %H:%M:%S}",
            "changed": f"{(number + 5) // NEW_ROWS:06}",
        }
        for number in range(orders, orders + NEW_ROWS)
    ]
    with shop.begin() as connection:
        connection.execute(insert, rows)
    return orders + NEW_ROWS


def _pulled(
    database: Database, settings: Settings, after: float | None, *, near_import: bool = False
) -> tuple[int, float]:
    """Pull in a process; kill it some seconds after its begin or its import.

    Returns whether it was killed, and the seconds.
    """
    request = SourcePull(name="orders", scheduled=True)
    job = killed_jobs.start(settings, database, request, _prepare)
    began = time.monotonic()
    if near_import:
        job.pipe.recv()
    was_alive = job.kill_after(after)
    return int(was_alive), time.monotonic() - began


def _prepare(told: Any) -> None:
    """Say when an import ends, and store its watermark only a moment later."""
    store = source_pull._store

    def slowly(*arguments: Any) -> None:
        told.send("imported")
        time.sleep(PAUSE)
        store(*arguments)

    source_pull._store = slowly
