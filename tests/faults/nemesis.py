"""Inject one seeded fault after another into a running installation while jobs are asked for."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from retention.db import Database
from retention.errors import Refused
from retention.settings import Settings
from tests.faults import mailing
from tests.standins.slack import StandIn
from tests.workers.harness import ADMIN, ask
from workers.job_requests import Sweep
from workers.queue import jobs
from workers.queue.supervisor import Supervisor
from workers.schedule import tick

MAILER = "kill -9 amid an e-mail"  # in its turn, for copies are under way only now and then


@dataclass
class Nemesis:
    """What it may break, and the history of what it did."""

    settings: Settings
    database: Database
    supervisor: Supervisor
    slack: StandIn
    chance: random.Random
    asked: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)

    def faults(self) -> dict[str, Callable[[], bool]]:
        """Name → a fault; it says whether there was anything to break."""
        kills = {
            f"kill -9 {name}": lambda name=name: self._kill(name)
            for name in ("worker:batch", "broker", "tick", "sender")
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

    def round(self, number: int) -> None:
        """Ask for jobs, break something, ask again."""
        faults = self.faults()
        name = MAILER if number % 5 == 1 else self.chance.choice(sorted(faults))
        self._ask(f"{number}:a")
        threading.Event().wait(self.chance.uniform(0.2, 1.2))
        if faults[name]():
            self.injected[name] += 1
        self._ask(f"{number}:b")
        threading.Event().wait(self.chance.uniform(0.5, 1.5))

    def _ask(self, key: str) -> None:
        queued_job = ask(self.database, Sweep(top=self.chance.randint(1, 8)), key)
        jobs.wake(self.settings, queued_job)
        self.asked.append(queued_job.id)

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
