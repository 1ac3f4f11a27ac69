"""Inject one seeded fault after another into a running desk while people type commands."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from http.client import HTTPConnection, HTTPException

import psutil

from retention.db import Database
from retention.errors import Refused
from retention.settings import Settings
from tests.bot.wire import signature, slash_command
from tests.faults import mailing
from tests.standins.slack import StandIn
from tests.workers.harness import ADMIN, CHANNEL, ask, grant
from tests.world import add
from workers.job_requests import Sweep
from workers.queue import jobs
from workers.queue.supervisor import Supervisor
from workers.schedule import tick

PEOPLE = 40  # who type commands, so that nobody has too many open
FIRST_DAY = date(2020, 1, 1)
PATIENCE = 10.0  # seconds of a person; Slack gives up after three, but not on a busy machine
MAILER = "kill -9 amid an e-mail"  # in its turn, for copies are under way only now and then


@dataclass
class Nemesis:
    """What it may break, and the history of what it did."""

    settings: Settings
    database: Database
    supervisor: Supervisor
    slack: StandIn
    port: int  # of the bot
    chance: random.Random
    asked: list[str] = field(default_factory=list)
    typed: int = 0
    acknowledged: list[str] = field(default_factory=list)  # triggers of commands that were queued
    cancelled: list[str] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)

    def faults(self) -> dict[str, Callable[[], bool]]:
        """Name → a fault; it says whether there was anything to break."""
        kills = {
            f"kill -9 {name}": lambda name=name: self._kill(name)
            for name in ("bot", "worker:batch", "broker", "tick", "sender")
        }
        posts = {
            f"Slack: {kind}": lambda kind=kind: self._misbehave(kind)
            for kind in ("timeout_after_accept", "server_error", "rate_limited")
        }
        return {
            **kills,
            **posts,
            "kill -9 a worker's child": self._kill_child,
            "racing ticks": self._race_ticks,
            "racing cancels": self._race_cancels,
            MAILER: self._kill_mailer,
        }

    def invite(self) -> None:
        """Give the people who type commands their role."""
        people = (f"U0F{number}" for number in range(PEOPLE))
        add(self.database, *(grant(self.settings, person, "analyst") for person in people))

    def round(self, number: int) -> None:
        """Ask for jobs, break something, ask again."""
        faults = self.faults()
        for child in self.supervisor.children:
            child.failures = 0  # else they would wait longer each time
        name = MAILER if number % 5 == 1 else self.chance.choice(sorted(faults))
        self._ask(f"{number}:a")
        threading.Event().wait(self.chance.uniform(0.2, 1.2))
        if faults[name]():
            self.injected[name] += 1
        self.type()
        threading.Event().wait(self.chance.uniform(0.5, 1.5))

    def _ask(self, key: str) -> None:
        queued_job = ask(self.database, Sweep(top=self.chance.randint(1, 8)), key)
        jobs.wake(self.settings, queued_job)
        self.asked.append(queued_job.id)

    def type(self) -> None:
        """Type a command; without an answer in time, nobody promised anything."""
        self.typed += 1
        day = FIRST_DAY + timedelta(days=self.typed)  # or it would join an equal request
        trigger = f"nemesis.{self.typed}"
        place = {"channel_id": CHANNEL, "trigger_id": trigger}
        body = slash_command(
            f"sweep --top {self.chance.randint(1, 8)} --as-of {day}",
            f"U0F{self.typed % PEOPLE}",
            **place,
        )
        signed = signature(body, secret=self.slack.environment["SLACK_SIGNING_SECRET"])
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("POST", "/slack/events", body, signed | kind)
            answer = connection.getresponse()
            if answer.status == 200 and b"The result comes" in answer.read():
                self.acknowledged.append(trigger)
        except (OSError, HTTPException):
            return
        finally:
            connection.close()

    def _pid(self, name: str) -> int | None:
        child = next(child for child in self.supervisor.children if child.name == name)
        return child.process.pid if child.alive and child.process else None

    def _kill(self, name: str) -> bool:
        pid = self._pid(name)
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        return True

    def _kill_child(self) -> bool:
        pid = self._pid("worker:batch")
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(pid).children() if pid else []:
                child.kill()
                return True
        return False

    def _kill_mailer(self) -> bool:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            if mailing.under_way(self.database):
                return self._kill_child()
            threading.Event().wait(0.02)
        return False

    def _misbehave(self, kind: str) -> bool:
        self.slack.fault(kind, 1, "chat.postMessage")
        return True

    def _race_ticks(self) -> bool:
        return self._together(lambda: tick.tick(self.database))

    def _race_cancels(self) -> bool:
        victim = ask(self.database, Sweep(top=30), f"cancel:{len(self.cancelled)}").id
        self.cancelled.append(victim)

        def cancel() -> None:
            with suppress(Refused), self.database.transaction() as session:
                jobs.cancel(session, victim, ADMIN)

        return self._together(cancel)

    @staticmethod
    def _together(act: Callable[[], object]) -> bool:
        threads = [threading.Thread(target=act) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return True
