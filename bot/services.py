"""What every handler needs: the settings, the database, Slack's client, and what is known of channels and the queue."""

import time
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from sqlalchemy import event
from sqlalchemy.orm import Session

from bot.group_commit import Intake
from retention.db import Database
from retention.db.insert import insert_once
from retention.db.tables import Delivery, Job
from retention.settings import Settings
from workers import jobs
from workers.installation import Client

WAKE_SECONDS = 0.5  # how long an acknowledgement waits for the queue to take the wake-up
HERE_SECONDS = 0.5  # how long a queue that took a wake-up is taken to be there
BURST, PACE_SECONDS = 10, 0.02  # with more than so many wake-ups behind, one each so many seconds
AWAY_SECONDS = 5.0  # how long a silent queue is not asked again
LOOK_SECONDS = 1.0  # how long an acknowledgement waits to learn whether the bot is in the channel
MEMBER_SECONDS, STRANGER_SECONDS = 600.0, 20.0  # how long the answer is believed
LOCK_MILLISECONDS = 2000  # how long a handler waits for SQLite's writer: Slack gives 3 s in all


@dataclass(frozen=True)
class Services:
    """The installation, as a handler sees it."""

    settings: Settings
    database: Database

    @classmethod
    def of(cls, settings: Settings, database: Database | None = None) -> "Services":
        """Open the installation; a handler never waits longer for the database than Slack waits for it."""
        database = database or Database.of(settings)
        if database.is_sqlite:
            event.listen(database.engine, "connect", _wait_briefly)
        return cls(settings, database)

    @classmethod
    def for_the_terminal(cls, settings: Settings) -> "Services":
        """Open the installation for one person who waits as long as it takes."""
        return cls(settings, Database.of(settings))

    @cached_property
    def client(self) -> WebClient:
        """Slack's Web API."""
        return Client(self.settings, self.database, timeout=3)

    @cached_property
    def intake(self) -> Intake:
        """Where commands are stored."""
        return Intake(self.database)

    @cached_property
    def places(self) -> "Places":
        """Which channels the bot is in."""
        return Places(self.client)

    @cached_property
    def queue(self) -> "Queue":
        """The way to the workers."""
        return Queue(self.settings)


def _wait_briefly(connection, _record) -> None:
    connection.execute(f"PRAGMA busy_timeout={LOCK_MILLISECONDS}")


def first_time(session: Session, key: str) -> bool:
    """Remember a delivery of Slack's in the caller's transaction; False where it was acted on before."""
    return insert_once(session, Delivery, key=key)


class Queue:
    """Wakes the workers after a commit, without ever making a person wait for a silent broker.

    One thread publishes. While the broker took the last wake-up only just now, nobody waits to hear that it took
    theirs as well; while it was silent just now, nothing is published: the reconciler does that once it is back.
    In a burst the workers are busy with the first jobs anyway: the wake-ups of the rest are spread out, so that
    they do not slow down those who are still waiting for an answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._publisher = ThreadPoolExecutor(1, thread_name_prefix="wake")
        self._here_until = self._away_until = 0.0
        self._lock = Lock()
        self._behind = 0  # wake-ups not yet published

    def wake(self, job: Job) -> bool:
        """Publish the job; False where the queue is away."""
        now = time.monotonic()
        if now < self._away_until:
            return False
        with self._lock:
            self._behind += 1
        published = self._publisher.submit(self._publish, job)
        if now < self._here_until:
            return True
        try:
            return published.result(timeout=WAKE_SECONDS)
        except TimeoutError:
            self._away_until = time.monotonic() + AWAY_SECONDS
            return False

    def _publish(self, job: Job) -> bool:
        with self._lock:
            self._behind -= 1
        if time.monotonic() < self._away_until:
            return False
        if self._behind > BURST:
            time.sleep(PACE_SECONDS)
        here = jobs.wake(self._settings, job)
        now = time.monotonic()
        self._here_until = now + HERE_SECONDS if here else 0.0
        self._away_until = 0.0 if here else now + AWAY_SECONDS
        return here


class Places:
    """Whether the bot is in a channel, as Slack said lately. Where Slack does not say, it is taken to be."""

    def __init__(self, client: WebClient) -> None:
        self._client = client
        self._known: dict[str, tuple[bool, float]] = {}
        self._lock = Lock()

    def can_post(self, channel: str) -> bool:
        """Whether a post to this channel would arrive."""
        with self._lock:
            member, until = self._known.get(channel, (True, 0.0))
        if time.monotonic() < until:
            return member
        member = self._ask(channel)
        with self._lock:
            self._known[channel] = (
                member,
                time.monotonic() + (MEMBER_SECONDS if member else STRANGER_SECONDS),
            )
        return member

    def _ask(self, channel: str) -> bool:
        brief = WebClient(
            token=self._client.token,
            base_url=self._client.base_url,
            timeout=LOOK_SECONDS,  # type: ignore[arg-type]
            retry_handlers=[],
        )
        try:
            found = brief.conversations_info(channel=channel)["channel"]
        except SlackApiError as error:
            return error.response.get("error") != "channel_not_found"
        except Exception:  # no network, no answer in time: the sender will find out
            return True
        return bool(found.get("is_member") or found.get("is_im") or found.get("is_mpim"))
