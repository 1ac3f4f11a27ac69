"""Kill the job that makes codes at a shop.

Each job is a process that ends with SIGKILL at a random moment. Some campaigns are stopped in
between. In the end the codes at the shop are compared with those of the campaigns.

Lost: a code that customers have and the shop has not. Doubled: a code that was made twice, or a
second code of a customer. Unapproved: a code of a campaign that was not live, or of a stopped one.
"""

import random
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from retention import clock
from retention.campaigns.codes import shop_code_queue, shop_code_sync
from retention.db import Database
from retention.db.tables import Coupon
from retention.settings import Settings
from tests.faults import killed_jobs
from tests.faults.frame import Counts
from tests.faults.killed_jobs import RunningJob
from tests.standins import code_shops
from tests.standins.shopify_discounts import ShopifyDiscounts
from tests.world import read
from workers.campaigns.job_requests import ShopCodes

CUSTOMERS, GUESTS = 40, 10  # of a campaign; guests have a discount of their own
BUSY = timedelta(seconds=1)  # as long as a request of the stand-in may take
BATCH = 8
DELAY = 0.01  # seconds until the stand-in has made a batch
JOB_MODULES = (
    "tests.faults.shop_codes",
    "workers.tasks.shops.shop_codes",
    "retention.campaigns.codes.shop_code_sync",
    "retention.connect.connections",
    "retention.connect.shops.shopify_codes",
    "matplotlib.backends.backend_agg",  # of the campaign's picture
    "matplotlib.figure",
    "matplotlib.font_manager",
)


@dataclass(frozen=True, slots=True)
class CodeCounts:
    """What the shop has in the end."""

    kills: int
    campaigns: int
    stopped: int
    codes: int
    lost: int
    doubled: int
    unapproved: int

    @property
    def line(self) -> str:
        """One row of the table."""
        return (
            f"{'codes at a shop':32} {self.codes:4}   (kills {self.kills}, "
            f"campaigns {self.campaigns}, stopped {self.stopped}, lost {self.lost}, "
            f"doubled {self.doubled}, unapproved {self.unapproved})"
        )


def count(kills: int, seed: int) -> CodeCounts:
    """Kill jobs so many times, and count.

    Parameters
    ----------
    kills : int
        Processes to kill.
    seed : int
        Of the random moments.
    """
    chance, number, killed, stopped = random.Random(seed), 0, 0, 0
    with (
        killed_jobs.installation(*JOB_MODULES) as (settings, database),
        code_shops.connected(database, delay=DELAY) as shop,
    ):
        # The first run loads what the later ones have loaded already.
        longest = min(
            _finish(database, settings, _campaign(database, number)) for number in range(2)
        )
        number = 1
        while killed < kills:
            number += 1
            campaign_id = _campaign(database, number)
            for _ in range(chance.randint(1, 4)):
                killed += _killed(database, settings, campaign_id, chance.uniform(0, longest))
            if chance.random() < 0.3:
                stopped += 1
                code_shops.stop(database, campaign_id, clock.now())
                killed += _killed(database, settings, campaign_id, chance.uniform(0, longest))
            _finish(database, settings, campaign_id)
        return _compare(database, shop, killed, number + 1, stopped)


def count_row(injections: int, seed: int) -> Counts:
    """Count for the harness."""
    kills = count(injections, seed)
    return Counts.of_kills(kills, "codes", killed_jobs.attempts["kills"])


def _campaign(database: Database, number: int) -> str:
    campaign_id = f"c{number}"
    options = {"now": clock.now(), "first": 1000 + CUSTOMERS * number, "guests": GUESTS}
    code_shops.live_campaign(database, CUSTOMERS, campaign_id, **options)
    return campaign_id


def _start(database: Database, settings: Settings, campaign_id: str) -> RunningJob:
    code_shops.end_waits(database)
    return killed_jobs.start(settings, database, ShopCodes(campaign_id=campaign_id), _prepare)


def _prepare(_told: Any) -> None:
    from retention.connect.shops.shopify_codes import ShopifyCodes

    ShopifyCodes.batch_size = BATCH
    shop_code_sync.BUSY, shop_code_sync.POLL_EVERY = BUSY, 0.005


def _killed(database: Database, settings: Settings, campaign_id: str, after: float) -> int:
    """Kill a job after some seconds; returns whether it was still running."""
    return int(_start(database, settings, campaign_id).kill_after(after))


def _finish(database: Database, settings: Settings, campaign_id: str) -> float:
    """Run jobs until nothing is left to do; returns the seconds of the first."""
    seconds, until = 0.0, time.monotonic() + 60
    while time.monotonic() < until:
        began = time.monotonic()
        _start(database, settings, campaign_id).process.join()
        seconds = seconds or time.monotonic() - began
        due = read(database, shop_code_queue.due_campaigns, clock.now())
        if campaign_id not in {campaign.id for campaign in due}:
            break
        time.sleep(0.2)
    return seconds


def _compare(
    database: Database, shop: ShopifyDiscounts, kills: int, campaigns: int, stopped: int
) -> CodeCounts:
    present = set(shop.discounts.codes())
    with database.reading() as session:
        rows = session.execute(select(Coupon.code, Coupon.customer_id, Coupon.state)).all()
    issued = {row.code for row in rows if row.state == "issued"}
    customers = Counter(row.customer_id for row in rows if row.code in present)
    doubled = [code for code, times in shop.discounts.created.items() if times > 1]
    doubled += [customer for customer, times in customers.items() if times > 1]
    unapproved = {*shop.discounts.unapproved, *(present - issued)}
    return CodeCounts(
        kills,
        campaigns,
        stopped,
        len(present),
        len(issued - present),
        len(doubled),
        len(unapproved),
    )
