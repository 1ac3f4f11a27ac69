"""A slash command over HTTP from 50 people at once, beside a bare Bolt app.

The signature is verified and the job row committed.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from statistics import median
from urllib.parse import urlencode

from slack_sdk.signature import SignatureVerifier

from bot.playground.server import free_port
from tests.benchmarks.measure import FOLDER, Figure, alone, paired, settings
from tests.bot.wire import SECRET
from tests.standins.slack_api import Api, serve

HOME = f"bot-{os.getpid()}"  # of this run alone: its rows are counted at the end
PEOPLE, REQUESTS, ROUNDS, WARM_UP = 50, 1_500, 3, 300
_NUMBERS = count(1)  # of all requests of this run


def slash() -> dict[str, Figure]:
    """Ours and the peer's take turns, each alone on the machine; medians of the rounds."""
    shutil.rmtree(FOLDER / HOME, ignore_errors=True)
    ours, bare = [], []
    with _stand_in() as (environment, broker), broker:
        for _ in range(ROUNDS):
            with _server("bot.http.server", environment) as port:
                ours.append(_load(port))
            with _server("tests.benchmarks.bare", environment) as port:
                bare.append(_load(port))
    _committed((REQUESTS + WARM_UP) * ROUNDS)
    shutil.rmtree(FOLDER / HOME)
    rates = [(REQUESTS / own[0], REQUESTS / peer[0]) for own, peer in zip(ours, bare, strict=True)]
    halves = [(own[1], peer[1]) for own, peer in zip(ours, bare, strict=True)]
    return {
        "slash_command": paired(rates, "requests/s", least=0.2),
        "slash_command_p50": paired(halves, "ms", scale=1000),
        "slash_command_p99": alone(1000 * median(run[2] for run in ours), "ms", most=400),
    }


@contextmanager
def _stand_in() -> Iterator[tuple[dict[str, str], "_Broker"]]:
    """A fresh installation with its broker, and a Slack that says yes."""
    from retention.db.migrate import upgrade
    from workers.queue import broker

    place = settings(HOME)
    upgrade(place)
    api = Api()
    api.answers["conversations.info"] = {"ok": True, "channel": {"id": "C0CRM", "is_member": True}}
    server = serve(api)
    environment = {
        **os.environ,
        "RETENTION_HOME": str(place.home),
        "RETENTION_DEFAULT_ROLE": "analyst",
        "RETENTION_DEMO": "true",
        "SLACK_BOT_TOKEN": "xoxb-bench",
        "SLACK_SIGNING_SECRET": SECRET,
        "SLACK_API_URL": api.url,
        "SLACK_APP_TOKEN": "",
    }
    try:
        yield environment, _Broker(broker.command(place))
    finally:
        server.shutdown()


class _Broker:
    """Valkey for as long as the block runs."""

    def __init__(self, command: list[str]) -> None:
        self.command = command

    def __enter__(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)


@contextmanager
def _server(module: str, environment: dict[str, str]) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        env={**environment, "RETENTION_PORT": str(port), "RETENTION_HEALTH_PORT": str(free_port())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _wait(port: int, process: subprocess.Popen) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            _load(port, people=1, requests=1, warm_up=0)
            return
        except (OSError, AssertionError, asyncio.IncompleteReadError):
            time.sleep(0.2)
    raise RuntimeError(f"the server did not answer on port {port}; it ended with {process.poll()}")


def _load(
    port: int, people: int = PEOPLE, requests: int = REQUESTS, warm_up: int = WARM_UP
) -> tuple[float, float, float]:
    """Seconds in all, and the median and 99th percentile of one request's."""
    asyncio.run(_people(port, people, warm_up))
    took, total = asyncio.run(_people(port, people, requests))
    took.sort()
    return total, took[len(took) // 2], took[int(len(took) * 0.99)]


async def _people(port: int, people: int, requests: int) -> tuple[list[float], float]:
    """Let everybody type, wait for the answer, and type again, over a connection of their own.

    Returns the seconds of each request, and in all.
    """
    waiting = [_signed(port) for _ in range(requests)]
    took: list[float] = []

    async def person() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while waiting:
            request = waiting.pop()
            began = time.perf_counter()
            writer.write(request)
            await _answer(reader)
            took.append(time.perf_counter() - began)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(person() for _ in range(min(people, requests))))
    return took, time.perf_counter() - started


async def _answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    assert " 200 " in head.split("\r\n", 1)[0], head
    length = next(
        int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length")
    )
    body = await reader.readexactly(length)
    assert b"started" in body, body


def _signed(port: int) -> bytes:
    """Return ``/retention sweep`` as Slack sends it.

    Each is another request of another person, because one person is limited.
    """
    number = next(_NUMBERS)
    body = urlencode(
        {
            "token": "legacy",
            "team_id": "T0DEMO",
            "team_domain": "bench",
            "channel_id": "C0CRM",
            "channel_name": "crm",
            "user_id": f"U0BENCH{number}",
            "user_name": "analyst",
            "command": "/retention",
            "text": f"sweep --tier high --top {number}",
            "api_app_id": "A0",
            "response_url": f"http://127.0.0.1:{port}/r",
            "trigger_id": f"{time.time_ns()}.{number}",
        }
    )
    stamp = str(int(time.time()))
    signature = SignatureVerifier(SECRET).generate_signature(timestamp=stamp, body=body)
    head = (
        f"POST /slack/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        f"X-Slack-Request-Timestamp: {stamp}\r\nX-Slack-Signature: {signature}\r\n\r\n"
    )
    return (head + body).encode()


def _committed(at_least: int) -> None:
    """Every answer stands for a row: no figure for work that was not done."""
    from sqlalchemy import func, select

    from retention.db import Database
    from retention.db.tables import Job

    database = Database.of(settings(HOME))
    with database.reading() as session:
        rows = session.scalar(select(func.count()).select_from(Job)) or 0
    database.dispose()
    assert rows >= at_least, f"{rows} jobs for {at_least} answers"
