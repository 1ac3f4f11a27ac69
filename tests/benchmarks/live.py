"""Live events over HTTP into a lake of ten million events.

The bot and the live path run as processes. A client of its own process sends the load. Business
time is fixed, because the generated events end in 2024.
"""

import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from retention import clock
from retention.db import Database
from retention.db.tables import EventBatch, LiveFiring, LiveScore
from retention.privacy import standard_webhooks
from retention.settings import Settings
from tests.benchmarks import volume
from tests.benchmarks.measure import FOLDER, Figure, alone, settings
from tests.bot.real_server import RunningBot, running_bot
from tests.databases import create_tables

KEY = "whsec_" + b64encode(b"of the bench, 32 bytes or more of it").decode()
NOW = datetime(2024, 12, 30, 12, tzinfo=UTC)
EVENTS = 10_000_000
SECONDS = int(os.environ.get("RETENTION_BENCH_SECONDS", "60"))  # of each load
RATE, BATCH, CUSTOMERS = 5_000, 1_000, 20_000  # of the heavy load
SLOW_RATE, VIPS = 100, 50  # of the light one
DRAIN_LIMIT, ALERT_LIMIT = 120, 5  # seconds
PATIENCE = 600  # seconds for a drain that is too slow


def live() -> dict[str, Figure]:
    """Both loads, each beside a reader, on one lake."""
    home = _home()
    own = settings(str(home))
    database = Database(own.database_url.get_secret_value(), own)
    clock.configure(fixed=NOW)
    environment = {"RETENTION_NOW": NOW.isoformat(), "RETENTION_EVENTS_KEY": KEY}
    started = running_bot(own, RETENTION_NOW=NOW.isoformat(), RETENTION_EVENTS_KEY=KEY)
    with started as bot, _live_path(own, environment):
        _send(bot.port, 0, [_event("warm-up", 0, "view")])
        _until_empty(database)  # the population is measured once
        quiet = _beside(own, lambda: time.sleep(min(10, SECONDS)))[1]
        (heavy, drain), busy_heavy = _beside(own, lambda: _heavy(bot, database))
        latencies, busy_light = _beside(own, lambda: _light(bot, database))
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(LiveScore))
    return {
        "live_accepted": Figure(
            round(heavy.rate, 1),
            "events/s",
            target=f"≥ {RATE} events/s for {SECONDS} s",
            met=heavy.rate >= 0.99 * RATE and not heavy.refused,
        ),
        "live_drained": alone(drain, "s", most=DRAIN_LIMIT),
        "live_answer_p99": alone(1000 * _quantile(heavy.answers, 0.99), "ms"),
        "live_slash_p99": alone(1000 * _quantile(heavy.slash, 0.99), "ms", most=3000),
        "live_alert_p50": alone(statistics.median(latencies), "s"),
        "live_alert_p95": alone(_quantile(latencies, 0.95), "s", most=ALERT_LIMIT),
        "live_reader_heavy": _reader(busy_heavy, quiet),
        "live_reader_light": _reader(busy_light, quiet),
    }


def _home() -> Path:
    """A lake of ten million events and an alert; the imported lake is kept between runs."""
    folder = FOLDER / "live"
    imported, home = folder / "imported", folder / "home"
    if not (imported / "done").exists():
        file = volume.generate(EVENTS, folder / f"{EVENTS}.parquet")
        volume.bring(file, imported)
        (imported / "done").touch()
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(imported, home)
    own = settings(str(home))
    database = Database(own.database_url.get_secret_value(), own)
    create_tables(database)
    from retention.alerts import store
    from retention.alerts.condition import parse_condition

    with database.transaction() as session:
        condition = parse_condition("value > 0 and orders >= 1")
        alert = store.add(session, "vip", condition, audience=None, channel="C0CRM", by="U1")
        alert.state = {"as_of": (NOW - timedelta(hours=1)).isoformat()}
    database.dispose()
    return home


class _Load:
    """What the heavy load measured."""

    def __init__(self) -> None:
        self.rate = 0.0
        self.refused = 0
        self.answers: list[float] = []
        self.slash: list[float] = []


def _heavy(bot: RunningBot, database: Database) -> tuple[_Load, float]:
    """Send 5,000 events per second; return the load and the seconds until all are drained."""
    context, load = multiprocessing.get_context("spawn"), _Load()
    with context.Pool(2) as clients:
        calls = range(SECONDS * RATE // BATCH)
        began = time.monotonic() + 2
        sent = clients.starmap_async(
            _paced, [(bot.port, number, began + number * BATCH / RATE) for number in calls], 1
        )
        while not sent.ready():
            started = time.monotonic()
            bot.command("help")
            load.slash.append(time.monotonic() - started)
            time.sleep(0.5)
        results = sent.get()
        load.rate = len(calls) * BATCH / (max(done for _, done, _ in results) - began)
    ended = time.monotonic()
    load.answers = [seconds for seconds, _, _ in results]
    load.refused = sum(status != 202 for _, _, status in results)
    _until_empty(database)
    return load, time.monotonic() - ended


def _paced(port: int, number: int, at: float) -> tuple[float, float, int]:
    """Send one batch at its time; return seconds, end and status."""
    rows = [
        _event(
            f"{number}-{place}",
            (number * BATCH + place) * 7919 % CUSTOMERS,
            ("view", "view", "cart", "purchase")[place % 4],
        )
        for place in range(BATCH)
    ]
    time.sleep(max(0.0, at - time.monotonic()))
    started = time.monotonic()
    status = _send(port, number, rows)
    return time.monotonic() - started, time.monotonic(), status


def _light(bot: RunningBot, database: Database) -> list[float]:
    """Send 100 events per second of 50 customers; return the seconds from order to alert."""
    ordered: dict[str, float] = {}
    seen: dict[str, float] = {}
    began, ticks = time.monotonic(), SECONDS * 10
    for tick in range(ticks + 300):
        if tick < ticks:
            names = [f"vip-{(tick * 10 + place) % VIPS}" for place in range(SLOW_RATE // 10)]
            rows = [
                _event(f"light-{tick}-{place}", name, "view") for place, name in enumerate(names)
            ]
            turn = tick * VIPS // ticks
            if f"vip-{turn}" not in ordered:
                rows.append(_event(f"vip-{turn}", f"vip-{turn}", "purchase"))
                ordered[f"vip-{turn}"] = time.monotonic()
            _send(bot.port, 1_000_000 + tick, rows)
        with database.reading() as session:
            for name in session.scalars(select(LiveFiring.customer_id)):
                seen.setdefault(name, time.monotonic())
        if tick >= ticks and ordered.keys() <= seen.keys():
            break
        time.sleep(max(0.0, began + (tick + 1) / 10 - time.monotonic()))
    late = [PATIENCE] * len(ordered.keys() - seen.keys())
    return [seen[name] - at for name, at in ordered.items() if name in seen] + late


def _event(name: str, customer: Any, kind: str) -> dict[str, Any]:
    row = {
        "event_id": f"bench-{name}",
        "customer_id": str(customer),
        "event_type": kind,
        "occurred_at": (NOW - timedelta(seconds=30)).isoformat(),
        "item_id": str(hash(name) % 5000),
    }
    return row | ({"order_id": f"n-{name}", "amount": 20.0} if kind == "purchase" else {})


def _send(port: int, number: int, rows: list[dict[str, Any]]) -> int:
    body = json.dumps(rows).encode()
    headers = standard_webhooks.headers(KEY, f"call-{number}", body, clock.wall())
    address = f"http://127.0.0.1:{port}/events"
    request = urllib.request.Request(address, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _until_empty(database: Database) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with database.reading() as session:
            if not session.scalar(select(func.count()).select_from(EventBatch)):
                return
        time.sleep(0.1)


def _beside(own: Settings, work: Any) -> tuple[Any, list[float]]:
    """Do work while another process reads; return the result and the reader's seconds."""
    context = multiprocessing.get_context("spawn")
    stop, times = context.Event(), context.Queue()
    reader = context.Process(target=_read, args=(own.home, stop, times), daemon=True)
    reader.start()
    times.get()  # it has begun
    try:
        result = work()
    finally:
        stop.set()
    seconds = times.get()
    reader.join()
    return result, seconds


def _read(home: Path, stop: Any, times: Any) -> None:
    """Show the last orders of a customer again and again, as a customer's card does."""
    from retention.lake import Lake
    from retention.reports import customer_history

    lake, seconds = Lake.open(settings(str(home))), []
    customer_history.last_orders(lake, "7", NOW)
    times.put([])
    while not stop.is_set():
        began = time.monotonic()
        customer_history.last_orders(lake, "7", NOW)
        seconds.append(time.monotonic() - began)
        stop.wait(0.5)
    times.put(seconds)


def _reader(busy: list[float], quiet: list[float]) -> Figure:
    """The reader's median during a load beside its median without one."""
    value, peer = statistics.median(busy), statistics.median(quiet)
    return Figure(round(value, 4), "s", round(peer, 4), round(value / peer, 3))


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def _live_path(own: Settings, environment: dict[str, str]) -> Iterator[None]:
    inherited = {name: text for name, text in os.environ.items() if "RETENTION_" not in name}
    with (own.home / "live.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workers.service_process", "live"],
            env=inherited | {"RETENTION_HOME": str(own.home)} | environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)
