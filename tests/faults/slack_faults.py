"""Slack answers 429 or 500, hangs, closes the connection, or accepts a post and then times out.

A sender delivers messages, replies and files over a proxy that misbehaves in front of Slack. Lost:
a message that nobody sees. Doubled: one seen twice although Slack could say that it was there.
Where Slack's history lags behind, a repetition is counted apart, as in doubt. Pacing: no channel
gets more calls than its allowance, and none during the pause that Slack asked for.
"""

import json
import os
import random
import threading
import time
from collections import Counter, defaultdict
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from slack_sdk import WebClient
from sqlalchemy import select, update

from retention import clock
from retention.db import Database
from retention.db.tables import Outbox
from tests.faults import killed_jobs
from tests.faults.frame import Counts
from tests.standins.slack import StandIn
from tests.world import change, execute, scalar, scalars
from workers.delivery import outbox
from workers.delivery.sender import Pacing, Sender
from workers.delivery.slack_client import RateLimitedClient
from workers.tasks.interface import Attachment, Post

CHANNELS = "C0CRM", "U0ADMIN"  # the second one is a direct message
PATIENCE = 1  # seconds of the sender
HANG = 1.5
GAP, BURST = 0.05, 4
TOLERANCE = 2  # calls that a busy machine may bring closer together than they were made
PAUSE = 1  # seconds that a 429 asks for
KINDS = "429", "500", "html", "hang", "close", "accept and close", "accept and hang", "half"
STRUCK = "chat.postMessage", "chat.update", "files.completeUploadExternal"
QUICK = Pacing(channel_gap=GAP, burst=BURST, recheck_after=0.1, max_ambiguous=100)


class Proxy:
    """Forwards calls to Slack, and breaks some of them."""

    def __init__(self, slack_port: int, chance: random.Random) -> None:
        self.slack_port, self.chance = slack_port, chance
        self.waiting: list[str] = []  # faults for the next calls
        self.struck: Counter[str] = Counter()
        self.calls: dict[str, list[float]] = defaultdict(list)  # posts by channel
        self.paused_until: dict[str, float] = {}
        self.early: list[str] = []
        handler = type("Handler", (_Handler,), {"proxy": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/api/"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy

    def do_POST(self) -> None:
        proxy, now = self.proxy, time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        method = self.path.rpartition("/")[2]
        channel = _channel(body) if method == "chat.postMessage" else ""
        if channel:
            proxy.calls[channel].append(now)
            if now < proxy.paused_until.get(channel, 0.0):
                proxy.early.append(channel)
        fault = proxy.waiting.pop() if method in STRUCK and proxy.waiting else ""
        proxy.struck[fault] += bool(fault)
        if fault == "429":
            proxy.paused_until[channel] = now + PAUSE
            return self._answer(
                429, b'{"ok": false, "error": "ratelimited"}', {"Retry-After": str(PAUSE)}
            )
        if fault in ("500", "html"):
            page = b'{"ok": false, "error": "internal_error"}' if fault == "500" else b"<html>sorry"
            return self._answer(500 if fault == "500" else 502, page)
        if fault in ("hang", "close"):
            time.sleep(HANG if fault == "hang" else 0)
            return self.close_now()
        status, content = self._forward(body)
        if fault == "accept and hang":
            time.sleep(HANG)
        if fault.startswith("accept"):
            return self.close_now()
        if fault == "half":
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            return self.close_now()
        return self._answer(status, content)

    do_GET = do_POST

    def close_now(self) -> None:
        self.close_connection = True

    def _forward(self, body: bytes) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.proxy.slack_port, timeout=30)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


def _channel(body: bytes) -> str:
    text = body.decode()
    if text.startswith("{"):
        return str(json.loads(text).get("channel", ""))
    return parse_qs(text).get("channel", [""])[0]


def count_row(injections: int, seed: int) -> Counts:
    """Break so many calls while messages are sent, and count."""
    chance, counts = random.Random(seed), Counts()
    with StandIn.start(strict=False) as slack:
        proxy = Proxy(urlsplit(slack.url).port or 0, chance)
        os.environ.update({**slack.environment, "SLACK_API_URL": proxy.url})
        with killed_jobs.installation() as (_, database):
            web: WebClient = RateLimitedClient(database, PATIENCE)
            sender = Sender(database, web, QUICK)
            expected: dict[str, str] = {}
            for number in range(injections):
                _put(database, chance, number, expected)
                proxy.waiting.append(KINDS[number % len(KINDS)])
                counts.injections += 1
                if number % 10 == 9:
                    slack.fault("history_lag", 1) if chance.random() < 0.1 else None
                    _drain(sender, database, counts)
            proxy.waiting.clear()
            _drain(sender, database, counts)
            counts.hit = proxy.struck.total()
            _compare(database, slack, proxy, counts, expected)
        proxy.server.shutdown()
    return counts


def _put(database: Database, chance: random.Random, number: int, expected: dict[str, str]) -> None:
    """Write a message, a reply, a file, or a further revision of a message."""
    channel, kind = chance.choice(CHANNELS), chance.randint(0, 3)
    key, text = f"m{number}", f"message {number}"
    more: dict[str, Any] = {}
    if kind == 1 and expected:
        key = chance.choice(sorted(expected))
    if kind == 2:
        more["file"] = Attachment(f"{number}.csv", "text/csv", b"a,b")
        key, text = f"f{number}", f"file {number}"
    if key.startswith("f") and kind == 1:
        return
    expected[key] = text
    post = Post("job/refused", {"sentence": text}, key=key, **more)
    change(database, outbox.put, post, default_channel=channel)


def _drain(sender: Sender, database: Database, counts: Counts) -> None:
    """Send until nothing waits, as quickly as the sender may."""
    until = time.monotonic() + 300
    while scalar(database, outbox.undelivered()):
        if time.monotonic() > until:
            counts.expect(False, "the outbox does not drain")
            return
        if not sender.step():
            time.sleep(0.01)
            # The back-off after an unreachable Slack is minutes; a pause of Slack stays.
            waits = Outbox.state.in_(("pending", "ambiguous")), Outbox.next_at > clock.wall()
            execute(database, update(Outbox).where(*waits).values(next_at=clock.wall()))


def _compare(
    database: Database, slack: StandIn, proxy: Proxy, counts: Counts, expected: dict[str, str]
) -> None:
    seen = Counter[str]()
    for channel in ("crm", "@admin"):
        seen.update(message["text"] for message in slack.messages(channel, user="admin"))
    lagged = slack.slack.faults.struck["history_lag"]
    for key, text in expected.items():
        if lagged and seen[text] > 1:  # Slack could not say that it was there
            counts.doubt, lagged = counts.doubt + 1, lagged - 1
            seen[text] = 1
        counts.expect_once(seen[text], f"{key}: {text}")
    stuck = scalars(database, select(Outbox.key).where(Outbox.state.in_(outbox.STUCK)))
    counts.expect(not stuck, f"held or failed: {stuck}")
    counts.expect(not proxy.early, f"calls during a pause: {proxy.early}")
    for channel, moments in proxy.calls.items():
        for place in range(len(moments)):
            for later in range(place + 1, min(place + 40, len(moments))):
                allowed = BURST + (moments[later] - moments[place]) / GAP + TOLERANCE
                if later - place + 1 > allowed:
                    counts.expect(
                        False, f"{channel}: {later - place + 1} calls, {allowed:.1f} allowed"
                    )
                    return
