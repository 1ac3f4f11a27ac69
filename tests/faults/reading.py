"""Customers who open e-mails and click in them, while the bot that counts it is killed, too."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import cache
from http.client import HTTPException

from sqlalchemy import select

from retention.db import Database
from retention.db.tables import MessageEvent
from retention.settings import Settings
from tests.bot.real_server import RunningBot, running_bot
from tests.retention.outreach.test_machines import IPHONE
from tests.standins.smtp import Inbox
from tests.workers.harness import wait
from tests.world import rows

TRACKED = re.compile(r"https://crm\.shop\.example(/[co]/[^\"'\s>]+)")
NO_SLACK = "http://127.0.0.1:9/api/"


@dataclass
class Readers:
    """What they asked for, and what the bot answered."""

    settings: Settings
    inbox: Inbox
    asked: Counter[str] = field(default_factory=Counter)
    answered: set[str] = field(default_factory=set)
    is_over: threading.Event = field(default_factory=threading.Event)
    bot: RunningBot | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    def restart(self) -> None:
        """Kill the bot, and start another one."""
        if self.bot is not None:
            self.bot.process.kill()
        self.stack.close()
        new = running_bot(self.settings.model_copy(update={"slack_api_url": NO_SLACK}))
        self.bot = self.stack.enter_context(new)

    def paths(self, prefix: str) -> set[str]:
        """Return the pixels and links of the e-mails that arrived at addresses with a prefix."""
        read = (_read(mail) for mail in list(self.inbox.mails))
        return set[str]().union(*(paths for to, paths in read if to.startswith(prefix)))

    def read(self) -> None:
        """Open and click once each, and again where the bot died before its answer."""
        while not self.is_over.wait(0.05):
            for path in self.paths("") - self.answered:
                self.asked[path] += 1
                try:
                    status, _, _ = self.bot.request("GET", path, headers={"User-Agent": IPHONE})
                except (OSError, EOFError, HTTPException):
                    continue
                if status in (200, 302):
                    self.answered.add(path)

    def count(self, database: Database, campaign: str, prefix: str) -> tuple[int, int, int]:
        """Wait until all is read; return how much was, and what was lost or doubled of it."""
        wait(lambda: self.paths(prefix) <= self.answered)
        paths, event = self.paths(prefix), MessageEvent
        columns = select(event.send_id, event.kind, event.link, event.times)
        stored = rows(database, columns.where(event.campaign_id == campaign))
        lost = len(paths) - len({(send, kind, link) for send, kind, link, _ in stored})
        asked = sum(self.asked[path] for path in paths)
        return len(paths), max(lost, 0), max(sum(times for *_, times in stored) - asked, 0)


@cache
def _read(mail: EmailMessage) -> tuple[str, frozenset[str]]:
    """Return an e-mail's address, and its pixel and links."""
    html = mail.get_body(("html",))
    found = frozenset(TRACKED.findall(html.get_content())) if html else frozenset[str]()
    return mail["To"].addresses[0].addr_spec, found


@contextmanager
def readers(settings: Settings, inbox: Inbox) -> Iterator[Readers]:
    """Let customers read what arrives."""
    reading = Readers(settings, inbox)
    reading.restart()
    thread = threading.Thread(target=reading.read)
    thread.start()
    try:
        yield reading
    finally:
        reading.is_over.set()
        thread.join()
        reading.stack.close()
