"""Kill the bot and the live path with ``kill -9`` while events arrive, and count them.

A client sends each event until the server has
acknowledged it. In the end each acknowledged event must be in the lake once, and each customer must
have been alerted once.
"""

import json
import multiprocessing
import os
import random
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from retention import clock
from retention.db import Database
from retention.db.tables import AlertFiring, EventBatch, LiveFiring
from retention.privacy import standard_webhooks
from retention.settings import Settings
from tests.bot.real_server import running_bot
from tests.faults.frame import Counts
from workers.live import live_events

KEY = "whsec_" + b64encode(b"of the fault run, 32 bytes or more").decode()
BOT_EVERY = 10  # kills of the live path for one of the bot
SETTLING = 300.0  # seconds for the rest to drain
HEAVY = ["pandas", "duckdb", "deltalake", "ibis", "pyarrow", "scipy.stats", "retention.risk.live"]


@dataclass(frozen=True, slots=True)
class Kills:
    """What was injected, and which events were lost or doubled."""

    injected: Counter[str]
    events: int
    rounds: int
    lost: list[str]
    doubled: list[str]


@dataclass
class Client:
    """A shop's server that repeats a call until it is acknowledged."""

    address: str = ""
    acknowledged: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        for number in count():
            if self.stop.is_set():
                return
            rows = [_event(f"{number}-{place}") for place in range(5)]
            while not self._send(f"call-{number}", rows):
                time.sleep(0.1)
            self.acknowledged += [row["event_id"] for row in rows]
            self.stop.wait(0.05)

    def _send(self, message_id: str, rows: list[dict]) -> bool:
        body = json.dumps(rows).encode()
        headers = standard_webhooks.headers(KEY, message_id, body, clock.wall())
        request = urllib.request.Request(self.address, data=body, headers=headers)
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(request, timeout=5):
            return True
        return False


def _event(name: str) -> dict:
    return {
        "event_id": f"kill-{name}",
        "customer_id": f"live-{name.partition('-')[0]}",
        "event_type": "purchase",
        "occurred_at": (clock.now() - timedelta(minutes=1)).isoformat(),
        "order_id": name,
        "item_id": f"i00{name[-1]}",
        "amount": 5.0,
    }


def run(kills: int, seed: int) -> Kills:
    """Kill that often, let everything drain, and count."""
    chance, injected = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="live") as folder:
        settings, database = _shop(Path(folder) / "home")
        client = Client()
        feeder = threading.Thread(target=client.run, daemon=True)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["workers.live.live_events", *HEAVY])
        while injected.total() < kills:
            with suppress(AssertionError), _bot(settings) as bot:
                client.address = f"http://127.0.0.1:{bot.port}/events"
                if not feeder.ident:
                    feeder.start()
                for _ in range(BOT_EVERY):
                    _kill_drain(context, settings, chance)
                    injected["kill -9 live"] += 1
                os.kill(bot.process.pid, signal.SIGKILL)
                injected["kill -9 bot, amid events"] += 1
        with _bot(settings) as bot:
            client.address = f"http://127.0.0.1:{bot.port}/events"
            client.stop.set()
            feeder.join(60)
        _drain_rest(database)
        return _counted(settings, database, client, injected)


def _shop(home: Path) -> tuple[Settings, Database]:
    from retention.alerts import store
    from retention.alerts.condition import parse_condition
    from tests import shop

    made = shop.build(home, customers=60, days=60)
    with made.database.transaction() as session:
        condition = parse_condition("orders >= 1")
        alert = store.add(session, "new", condition, audience=None, channel="C0CRM", by="U1")
        alert.state = {"as_of": (clock.now() - timedelta(days=1)).isoformat()}
    policy = home / "policy.toml"
    text = (Path(live_events.__file__).parents[2] / "retention/risk/policy.toml").read_text("utf-8")
    policy.write_text(_without_quiet_hours(text), encoding="utf-8")
    settings = made.settings.model_copy(update={"policy": policy})
    return settings, made.database.using(settings)  # with the policy without quiet hours


def _without_quiet_hours(text: str) -> str:
    return "\n".join(
        'quiet_hours = ""' if line.startswith("quiet_hours") else line for line in text.splitlines()
    )


def _bot(settings: Settings):
    return running_bot(settings, RETENTION_EVENTS_KEY=KEY)


def _kill_drain(context, settings: Settings, chance: random.Random) -> None:
    ready = context.Event()
    arguments = (settings.home, settings.policy, ready)
    process = context.Process(target=_drain, args=arguments, daemon=True)
    process.start()
    ready.wait(120)
    time.sleep(chance.uniform(0.0, 0.8))
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def _drain(home: Path, policy: Path, ready: Any) -> None:
    settings = Settings(home=home, policy=policy, _env_file=None)
    drain = live_events.Drain(Database.of(settings))
    drain.round()  # the first one also measures the customer base
    ready.set()
    while True:
        if not drain.round():
            time.sleep(0.01)


def _drain_rest(database: Database) -> None:
    drain, until = live_events.Drain(database), time.monotonic() + SETTLING
    while time.monotonic() < until:
        drain.round()
        with database.reading() as session:
            if not session.scalar(select(func.count()).select_from(EventBatch)):
                return


def _counted(
    settings: Settings, database: Database, client: Client, injected: Counter[str]
) -> Kills:
    from retention.lake import Lake
    from retention.lake.schema import EVENTS
    from retention.lake.storage import delta_store

    events = Lake.open(settings).table("events")
    rows = events.filter(events.event_id.startswith("kill-")).event_id.execute()
    stored, sent = Counter(rows), set(client.acknowledged)
    lost = sorted(sent - set(stored))
    doubled = sorted(name for name, times in stored.items() if times > 1)
    with database.reading() as session:
        fired = int(session.scalar(select(func.sum(AlertFiring.customers))) or 0)
        alerted = set(session.scalars(select(LiveFiring.customer_id)))
    customers = {f"live-{name.split('-')[1]}" for name in sent}
    lost += sorted(f"alert of {name}" for name in customers - alerted)
    doubled += [f"{fired - len(alerted)} alerts"] * (fired != len(alerted))
    rounds = delta_store.version(Path(settings.lake_url.partition("://")[2]), EVENTS)
    return Kills(injected, len(sent), rounds, lost, doubled)


def count_row(injections: int, seed: int) -> Counts:
    """Count for the harness."""
    kills = run(injections, seed)
    total = kills.injected.total()
    return Counts(total, total, 0, kills.events, kills.lost, kills.doubled)
