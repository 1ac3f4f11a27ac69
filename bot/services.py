"""Bundle settings, database and clients for handlers."""

import time
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from sqlalchemy import event

from bot.group_commit import GroupCommit
from retention import traces
from retention.db import Database, Transaction
from retention.db.insert import insert_once
from retention.db.tables import Delivery, Job
from retention.settings import Settings
from workers import user_roles
from workers.installation import Client

if TYPE_CHECKING:  # terminal commands that neither queue nor post start without them
    from bot.slack.groups import UserGroups

WAKE_SECONDS = 0.5  # an acknowledgement's wait for the broker
REACHABLE_SECONDS = 0.5  # a broker that took a wake-up counts as reachable
BURST, PACE_SECONDS = 10, 0.02  # with more pending wake-ups, publish one per pause
UNREACHABLE_SECONDS = 5.0  # pause before a silent broker is tried again
SLACK_SECONDS = 3.0  # of a call to Slack within a request
LOOKUP_SECONDS = 1.0  # an acknowledgement's wait for the channel lookup
# How long a lookup is cached.
MEMBER_SECONDS, NON_MEMBER_SECONDS = 600.0, 20.0
LOCK_MILLISECONDS = 2000  # wait for SQLite's writer; Slack allows 3 s in total


@dataclass(frozen=True)
class Services:
    """The installation's settings, database and clients."""

    settings: Settings
    database: Database

    @classmethod
    def of(cls, settings: Settings, database: Database | None = None) -> "Services":
        """Open the installation for the bot.

        A handler's wait for the database is shorter than Slack's wait for an answer.
        """
        database = database.using(settings) if database else Database.of(settings)
        if database.is_sqlite:
            event.listen(database.engine, "connect", _wait_briefly)
        return cls(settings, database)

    @classmethod
    def for_terminal(cls, settings: Settings) -> "Services":
        """Open the installation for the terminal, without short time-outs."""
        return cls(settings, Database.of(settings))

    def role_of(self, user: str) -> str:
        """Return a person's role."""
        with self.database.reading_once() as session:
            return user_roles.role_of(session, user)

    def require(self, user: str, role: str, deed: str) -> None:
        """Raise unless a person's role allows an action, before its parameters are used."""
        with self.database.reading_once() as session:
            user_roles.require(session, user, role, deed)

    def record_refusal(self, user: str, what: str) -> None:
        """Write a refused attempt to the audit log, after the answer."""
        self.group_commit.defer(lambda session: user_roles.record_refusal(session, user, what))

    @cached_property
    def client(self) -> "WebClient":
        """Slack's Web API."""
        return Client(self.database, timeout=SLACK_SECONDS)

    @cached_property
    def group_commit(self) -> GroupCommit:
        """The group commit that stores commands."""
        return GroupCommit(self.database)

    @cached_property
    def channels(self) -> "ChannelMembership":
        """The bot's channel memberships."""
        return ChannelMembership(Client(self.database, timeout=LOOKUP_SECONDS))

    @cached_property
    def groups(self) -> "UserGroups":
        """The members of Slack's user groups."""
        from bot.slack.groups import UserGroups

        return UserGroups(self.client, self.database)

    @cached_property
    def queue(self) -> "Queue":
        """The queue that wakes the workers."""
        return Queue(self.settings)


def _wait_briefly(connection, _record) -> None:
    connection.execute(f"PRAGMA busy_timeout={LOCK_MILLISECONDS}")


def first_time(session: Transaction, key: str) -> bool:
    """Record a Slack delivery in the caller's transaction."""
    return insert_once(session, Delivery, key=key)


class Queue:
    """Wake the workers without blocking on the broker.

    One thread publishes. If the broker took a wake-up just now, callers do not wait for theirs.
    If it was silent just now, nothing is published: the reconciler does that later. In a burst the
    workers are busy with the first jobs, so the other wake-ups are spread out. Then they do not
    delay answers.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._publisher = ThreadPoolExecutor(1, thread_name_prefix="wake")
        self._reachable_until = self._unreachable_until = 0.0
        self._lock = Lock()
        self._pending = 0  # wake-ups not yet published

    def wake(self, job: Job) -> bool:
        """Publish the job. Return False if the queue is unreachable."""
        now = time.monotonic()
        if now < self._unreachable_until:
            return False
        with self._lock:
            self._pending += 1
        published = self._publisher.submit(traces.carried(self._publish), job)
        if now < self._reachable_until:
            return True
        try:
            return published.result(timeout=WAKE_SECONDS)
        except TimeoutError:
            self._unreachable_until = time.monotonic() + UNREACHABLE_SECONDS
            return False

    def _publish(self, job: Job) -> bool:
        from workers.queue import jobs

        with self._lock:
            self._pending -= 1
        if time.monotonic() < self._unreachable_until:
            return False
        if self._pending > BURST:
            time.sleep(PACE_SECONDS)
        is_reachable = jobs.wake(self._settings, job)
        now = time.monotonic()
        self._reachable_until = now + REACHABLE_SECONDS if is_reachable else 0.0
        self._unreachable_until = 0.0 if is_reachable else now + UNREACHABLE_SECONDS
        return is_reachable


class ChannelMembership:
    """Cache whether the bot is in a channel. Without an answer the bot counts as a member."""

    def __init__(self, client: "WebClient") -> None:
        self._client = client
        self._cache: dict[str, tuple[bool, float]] = {}
        self._lock = Lock()

    def can_post(self, channel: str) -> bool:
        """Return whether a post to this channel would arrive."""
        with self._lock:
            is_member, until = self._cache.get(channel, (True, 0.0))
        if time.monotonic() < until:
            return is_member
        is_member = self._look_up(channel)
        with self._lock:
            self._cache[channel] = (
                is_member,
                time.monotonic() + (MEMBER_SECONDS if is_member else NON_MEMBER_SECONDS),
            )
        return is_member

    def _look_up(self, channel: str) -> bool:
        try:
            info = self._client.conversations_info(channel=channel)["channel"]
        except SlackApiError as error:
            return error.response.get("error") != "channel_not_found"
        except Exception:  # network error: the sender retries
            return True
        return bool(info.get("is_member") or info.get("is_im") or info.get("is_mpim"))
