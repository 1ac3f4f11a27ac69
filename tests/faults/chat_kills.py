"""Kill the processes of a desk while customers chat and the team answers.

Customers and Slack repeat each message until it is acknowledged. Lost: an acknowledged message of a
customer that the thread in Slack does not show, or an acknowledged reply that the chat does not
have. Doubled: one that is shown twice.
"""

import json
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

import psutil
from sqlalchemy import select

from bot.playground.seed import TEAM_ID
from retention.db import Database
from retention.db.tables import ChatMessage, Outbox
from retention.service import store
from tests.bot.wire import signature
from tests.faults import processes
from tests.faults.frame import Counts
from tests.standins.slack import StandIn
from tests.workers.harness import CHANNEL, grant, running, wait
from tests.world import add, scalars
from workers.queue.supervisor import Supervisor

PUBLIC, ORIGIN, KEY = "pk-of-the-fault-run", "https://shop.example", "of-the-fault-run-0123456789"
CHATS, ANALYST = 3, "U0CHAT"
NAMES = "bot", "worker:interactive", "worker:interactive child", "sender", "tick", "broker"


@dataclass
class People:
    """Customers and a colleague who repeat each message until it is acknowledged."""

    port: int
    team: str
    secret: str
    roots: dict[str, str] = field(default_factory=dict)  # time stamp of each chat's thread
    said: list[str] = field(default_factory=list)
    replied: list[str] = field(default_factory=list)
    repeated: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def say(self, token: str, name: str, text: str) -> None:
        body = json.dumps({"token": token, "id": f"message-{name}", "text": text}).encode()
        url = f"http://127.0.0.1:{self.port}/service?key={PUBLIC}"
        address = f"203.0.113.{len(self.said) % 250}"  # of one, 20 messages a minute are taken
        headers = {"Origin": ORIGIN, "Content-Type": "text/plain", "X-Forwarded-For": address}
        self._until_taken(url, body, headers, 202)
        self.said.append(text)

    def reply(self, root: str, number: int, text: str) -> None:
        event = {"type": "message", "channel_type": "channel", "channel": CHANNEL, "text": text}
        event |= {"user": ANALYST, "ts": f"1600000000.{number:06}", "thread_ts": root}
        envelope = {"type": "event_callback", "team_id": self.team, "api_app_id": "A0"}
        body = json.dumps(envelope | {"event": event, "event_id": f"Ev{number}"})
        url = f"http://127.0.0.1:{self.port}/slack/events"
        kind = {"Content-Type": "application/json"}
        self._until_taken(url, body.encode(), kind, 200, signed=body)
        self.replied.append(text)

    def _until_taken(
        self, url: str, body: bytes, headers: dict[str, str], status: int, signed: str = ""
    ) -> None:
        while True:
            proof = signature(signed, secret=self.secret) if signed else {}
            request = urllib.request.Request(url, data=body, headers=headers | proof)
            with (
                suppress(urllib.error.URLError, OSError),
                urllib.request.urlopen(request, timeout=10) as answer,
            ):
                if answer.status == status:
                    return
            self.repeated += 1
            time.sleep(0.3)

    def customers(self) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            for place, token in enumerate(self.roots):
                self.say(token, f"{place}-{number}", f"said {place}-{number}.")
            self.stop.wait(1)

    def colleague(self) -> None:
        number = 0
        while not self.stop.is_set():
            for place, root in enumerate(self.roots.values()):
                number += 1
                self.reply(root, number, f"replied {place}-{number}.")
            self.stop.wait(1)


def count_row(injections: int, seed: int) -> Counts:
    """Kill so many times while people write, let everything end, and count."""
    variables = {"RETENTION_SERVICE_KEY": KEY, "RETENTION_EVENTS_PUBLIC_KEY": PUBLIC}
    variables |= {"RETENTION_SHOP_ORIGINS": ORIGIN, "RETENTION_SERVICE_CHANNEL": CHANNEL}
    with processes.installation(**variables) as (database, slack):
        add(database, grant(database.settings, ANALYST, "analyst"))
        with running(database.settings, database, *processes.ROLES) as supervisor:
            people = _begin(database, slack)
            threads = [
                threading.Thread(target=each, daemon=True)
                for each in (people.customers, people.colleague)
            ]
            for thread in threads:
                thread.start()
            kills = _kill(supervisor, injections, random.Random(seed))
            people.stop.set()
            for thread in threads:
                thread.join(120)
            _settle(database)
        return _compared(database, slack, people, kills)


def _begin(database: Database, slack: StandIn) -> People:
    """Let customers ask for a person, and wait for their threads."""
    secret = slack.environment["SLACK_SIGNING_SECRET"]
    people = People(int(os.environ["RETENTION_PORT"]), TEAM_ID, secret)
    for place in range(CHATS):
        token = f"{place:064x}"
        people.say(token, f"{place}-first", "I want to talk to a person")
        key = store.thread_key(store.id_of(token))
        found = wait(
            lambda key=key: next(
                (row.ts for row in scalars(database, select(Outbox).where(Outbox.key == key))), None
            )
        )
        people.roots[token] = found
    people.said.clear()
    return people


def _kill(supervisor: Supervisor, times: int, chance: random.Random) -> Counter[str]:
    kills = Counter[str]()
    while kills.total() < times:
        time.sleep(chance.uniform(0.3, 2.5))
        name = chance.choice(NAMES)
        role, _, is_child = name.partition(" ")
        child = next(each for each in supervisor.children if each.name == role)
        child.failures = 0  # else it would wait longer each time
        if not child.alive or child.process is None:
            continue
        with suppress(psutil.NoSuchProcess, ProcessLookupError, IndexError):
            pid = child.process.pid
            os.kill(psutil.Process(pid).children()[0].pid if is_child else pid, signal.SIGKILL)
            kills[name] += 1
    return kills


def _settle(database: Database) -> None:
    waiting = select(ChatMessage).where(ChatMessage.is_handled.is_(False))
    wait(lambda: not scalars(database, waiting), 300)
    processes.settle(database, with_digest=False)


def _compared(database: Database, slack: StandIn, people: People, kills: Counter[str]) -> Counts:
    shown = Counter(
        line
        for message in slack.messages("crm")
        for line in [str(message["text"]).rpartition(": ")[2]]
        if line.startswith("said ")
    )
    rows = scalars(database, select(ChatMessage).order_by(ChatMessage.seq))
    stored = Counter(row.text for row in rows)
    stuck = select(Outbox.key).where(Outbox.state.in_(("held", "failed")))
    total = kills.total()
    counts = Counts(total, total, len(scalars(database, stuck)))
    for text in people.said:
        counts.expect_once(stored[text], f"stored: {text}")
        counts.expect_once(shown[text], f"in the thread: {text}")
    for text in people.replied:
        counts.expect_once(stored[text], f"in the chat: {text}")
    return counts


if __name__ == "__main__":
    print(count_row(20, 1))
