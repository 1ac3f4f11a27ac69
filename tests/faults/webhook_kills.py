"""Kill what a shop's webhook goes through.

A shop sends each webhook to the bot's real server until it is acknowledged. The server and the job
that imports what it stored are ended with SIGKILL at random moments. Every second kill of a job
comes around the moment after the import and before the deliveries are marked as done. In the end
the lake is compared with the webhooks.

Lost: a webhook that was acknowledged and of which the lake lacks an event, or that still waits.
Doubled: an event that the lake has twice or that no webhook has, or a webhook that is stored twice.
"""

import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count as numbers
from typing import Any

from sqlalchemy import func, select

from retention import clock
from retention.connect import connections
from retention.connect.connections import Access
from retention.connect.shops import webhook_inbox
from retention.connect.shops.shopify import Shopify
from retention.db import Database
from retention.db.tables import Webhook
from retention.lake import Lake
from retention.settings import Settings
from tests.bot.real_server import running_bot
from tests.faults import killed_jobs
from tests.faults.frame import Counts
from tests.standins import shopify
from tests.world import change, scalar
from workers.job_requests import ShopInbox
from workers.tasks.shops import shop_inbox

BOT_EVERY = 4  # kills of the job for one of the server
AT_ONCE = 10  # deliveries of one import, so that a job has several
PAUSE = 0.05  # seconds between import and mark
LONGEST = 1.5  # seconds of a job until its kill
REFUNDED_EVERY = 3  # orders; a refund is a second webhook of the order
JOB_MODULES = (
    "tests.faults.webhook_kills",
    "retention.campaigns.measurement.redemption_and_bounce_files",
    "retention.connect.shops.loading",
    "retention.lake",
)


@dataclass(frozen=True, slots=True)
class WebhookCounts:
    """What the lake has in the end."""

    kills: int  # of jobs and servers
    server: int  # of them of the server
    between: int  # kills of a job after an import and before it was marked
    repeated: int  # webhooks that were sent again, because no answer came
    webhooks: int
    events: int
    lost: int
    doubled: int

    @property
    def line(self) -> str:
        """One row of the table."""
        return (
            f"{'webhooks of a shop':32} {self.webhooks:4}   "
            f"(kills {self.kills}, of them server {self.server}, between import and mark "
            f"{self.between}, sent again {self.repeated}, events {self.events}, "
            f"lost {self.lost}, doubled {self.doubled})"
        )


@dataclass
class Sender:
    """A shop that repeats each webhook until it is acknowledged."""

    shop: shopify.Shopify
    address: str = ""
    acknowledged: dict[str, bytes] = field(default_factory=dict)  # topic and body by delivery
    repeated: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Send orders, and refunds of some."""
        at = clock.now() - timedelta(hours=1)
        for number in numbers(1):
            if self.stop.is_set():
                return
            order = self.shop.records.add_order(number, customer=number % 20 + 1, at=at)
            self._deliver("orders/create", order)
            if number % REFUNDED_EVERY == 0:
                self.shop.records.refund(order, at + timedelta(minutes=1))
                self._deliver("orders/updated", order)
            self.stop.wait(0.02)

    def _deliver(self, topic: str, order: dict[str, Any]) -> None:
        headers, body = self.shop.delivery(topic, order)
        while not self._send(headers, body):
            self.repeated += 1
            time.sleep(0.05)
        self.acknowledged[headers["X-Shopify-Webhook-Id"]] = body

    def _send(self, headers: dict[str, str], body: bytes) -> bool:
        with suppress(urllib.error.URLError, OSError):
            return shopify.send(self.address, headers, body) == 200
        return False


def count(kills: int, seed: int) -> WebhookCounts:
    """Kill so many times, let everything drain, and count.

    Parameters
    ----------
    kills : int
        Processes to kill.
    seed : int
        Of the random moments.
    """
    chance, injected = random.Random(seed), Counter[str]()
    with (
        killed_jobs.installation(*JOB_MODULES) as (settings, database),
        shopify.Shopify.start() as shop,
    ):
        _connect(database, shop)
        sender = Sender(shop)
        feeder = threading.Thread(target=sender.run, daemon=True)
        while injected["job"] + injected["server"] < kills:
            with suppress(AssertionError), running_bot(settings) as bot:
                sender.address = f"http://127.0.0.1:{bot.port}/hooks/shop"
                if not feeder.ident:
                    feeder.start()
                for _ in range(BOT_EVERY):
                    injected.update(_kill_job(settings, database, chance))
                time.sleep(chance.uniform(0, 0.3))
                os.kill(bot.process.pid, signal.SIGKILL)
                injected["server"] += 1
        with running_bot(settings) as bot:
            sender.address = f"http://127.0.0.1:{bot.port}/hooks/shop"
            sender.stop.set()
            feeder.join(60)
        rest = killed_jobs.start(settings, database, ShopInbox(), _prepare)
        rest.process.join()
        return _compare(settings, database, sender, injected)


def count_row(injections: int, seed: int) -> Counts:
    """Count for the harness."""
    kills = count(injections, seed)
    return Counts.of_kills(kills, "webhooks", killed_jobs.attempts["kills"])


def _connect(database: Database, shop: shopify.Shopify) -> None:
    change(
        database,
        connections.add,
        "shop",
        "shopify",
        Shopify.settings,
        _access(shop),
        channel=None,
        by="U0ADMIN",
    )


def _access(shop: shopify.Shopify) -> dict[str, str]:
    return {"shop": shop.url, "token": shopify.TOKEN, "client_secret": shopify.SECRET}


def _kill_job(settings: Settings, database: Database, chance: random.Random) -> Counter[str]:
    _wait_for_webhooks(database)
    before = _state(settings, database)
    near_import = chance.random() < 0.5
    job = killed_jobs.start(settings, database, ShopInbox(), _prepare)
    if near_import:
        job.pipe.recv()
    moment = chance.uniform(0, 2 * PAUSE if near_import else LONGEST)
    if not job.kill_after(moment):
        return Counter(ended=1)
    after = _state(settings, database)
    # An import that repeats that of a killed job brings no new event.
    is_imported = near_import or after[0] > before[0]
    return Counter(job=1, between=int(is_imported and after[1] == before[1]))


def _wait_for_webhooks(database: Database) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with database.reading() as session:
            if webhook_inbox.is_waiting(session):
                return
        time.sleep(0.02)
    raise AssertionError("no webhook arrived")


def _state(settings: Settings, database: Database) -> tuple[int, int]:
    """Return the numbers of events in the lake and of deliveries that are done."""
    done = select(func.count()).select_from(Webhook).where(Webhook.state == webhook_inbox.DONE)
    number = scalar(database, done) or 0
    return int(Lake.open(settings).table("events").count().execute()), number


def _prepare(told: Any) -> None:
    """Say when an import ends, and mark its deliveries only a moment later."""
    import_rows = shop_inbox._import

    def slowly(*arguments: Any) -> Any:
        broken = import_rows(*arguments)
        told.send("imported")
        time.sleep(PAUSE)
        return broken

    shop_inbox._import, shop_inbox.AT_ONCE = slowly, AT_ONCE


def _compare(
    settings: Settings, database: Database, sender: Sender, injected: Counter[str]
) -> WebhookCounts:
    connector = Shopify(Access(_access(sender.shop)))
    expected = {
        row["event_id"]
        for delivery, body in sender.acknowledged.items()
        for page in connector.read("orders/updated", body, delivery).pages
        if page.table == "events"
        for row in page.rows
    }
    events = Lake.open(settings).table("events", identity="stored")
    stored = Counter(events.select("event_id").execute()["event_id"])
    with database.reading() as session:
        rows = session.execute(select(Webhook.delivery_id, Webhook.state)).all()
    states = {row.delivery_id: row.state for row in rows}
    undone = [each for each in sender.acknowledged if states.get(each) != webhook_inbox.DONE]
    doubled = [event for event, times in stored.items() if times > 1 or event not in expected]
    return WebhookCounts(
        injected["job"] + injected["server"],
        injected["server"],
        injected["between"],
        sender.repeated,
        len(sender.acknowledged),
        len(expected),
        len(expected - set(stored)) + len(undone),
        len(doubled) + len(rows) - len(states),
    )
