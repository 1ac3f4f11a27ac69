"""Send each outbox message once, in order.

A row is claimed by compare-and-set and delivered outside any transaction. A time-out may hide an
accepted post. An ambiguous row waits and looks for its own key in the channel before it is sent
again. After too many such attempts it is held for a person. Updates are idempotent and need no such
care. See docs/contributor/delivery.md.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from slack_sdk import WebClient
from sqlalchemy import ColumnElement, and_, case, exists, func, literal, or_, select, update
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import aliased

from retention import clock, traces
from retention.db import Database, Transaction
from retention.db.engine import advisory_lock
from retention.db.tables import File, Outbox, Utc
from workers.delivery import outbox, slack_client, threads
from workers.delivery.row_delivery import Claim, SentMessage, Transport
from workers.delivery.slack_client import Failure, FailureKind

log = logging.getLogger(__name__)

# No row waits that long. A later time comes from a wrong clock, and is ignored.
_FAR = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Pacing:
    """Waiting times of the sender, in seconds.

    `channel_gap`: mean time between two calls for one channel.
    `recheck_after`: before an ambiguous message is looked for.
    `idle_wait`: between two looks at an empty outbox.
    `max_ambiguous`: ambiguous attempts before a message is held.
    `burst`: calls that a rested channel gets without a gap. In any window of ``t`` seconds there
    are at most ``burst + t / channel_gap`` calls.
    """

    channel_gap: float = 1.05
    recheck_after: float = 30.0
    lease: float = 60.0
    idle_wait: float = 0.3
    max_ambiguous: int = 3
    burst: int = 4

    @property
    def overdraft(self) -> timedelta:
        """How far the end of a channel's allowance may lie ahead when a call begins."""
        return timedelta(seconds=(self.burst - 1) * self.channel_gap)


class Sender:
    """Sender of one installation; two may run."""

    def __init__(
        self, database: Database, web: WebClient | None = None, pacing: Pacing | None = None
    ) -> None:
        self._database, self._pacing = database, pacing or Pacing()
        self._transport = Transport(database, web or slack_client.client(database))

    def run(self, stop: threading.Event) -> None:
        """Deliver until ``stop`` is set."""
        while not stop.is_set():
            try:
                busy = self.step()
            except SQLAlchemyError as error:
                log.warning("the sender waits for the database: %s", error)
                stop.wait(2)
                continue
            if not busy:
                stop.wait(self._pacing.idle_wait)

    def step(self) -> bool:
        """Deliver the next due row, if any."""
        now = clock.wall()
        with self._database.reading() as session:
            if session.scalar(select(Outbox.id).where(*self._due(now)).limit(1)) is None:
                return False
        claim = self._claim()
        if claim is None:
            return False
        row = claim.row
        with traces.span("message.post", row.traceparent, job=row.job_id, attempt=row.attempts):
            self._deliver(claim)
        return True

    def _deliver(self, claim: Claim) -> None:
        try:
            sent = self._transport.deliver(claim)
        except (InterfaceError, OperationalError):
            raise  # the database is away: the claim ends with its lease, as that of a dead sender
        except Exception as error:
            self._record_failure(claim, self._failure_of(claim, error))
        else:
            self._record_sent(claim, sent)
            log.info("message %d is sent", claim.row.id)

    # ------------------------------------------------------------ next row

    def _due(self, now: datetime) -> tuple[ColumnElement[bool], ...]:
        """Return the conditions for sending a row.

        It is due, its channel may have a call, no other row of the channel is being sent, no
        earlier row of its thread waits, and its parent was sent. Each condition has an index that
        does not lead through all messages ever sent to the channel.
        """
        other, parent = aliased(Outbox), aliased(Outbox)
        is_waiting = Outbox.state.in_(("pending", "rate_limited", "ambiguous"))
        is_time = or_(Outbox.next_at <= now, Outbox.next_at > now + _FAR)
        is_abandoned = and_(
            Outbox.state == "sending",
            or_(Outbox.lease_until < now, Outbox.lease_until > now + _FAR),
        )
        is_being_sent = and_(
            other.state == "sending",
            other.lease_until.between(now, now + _FAR),
            other.id != Outbox.id,
        )
        waits_before = and_(
            other.id < Outbox.id,
            other.ts.is_(None),
            other.state.in_(outbox.UNDELIVERED),
            or_(
                other.thread_key == Outbox.thread_key,
                and_(other.thread_key.is_(None), Outbox.thread_key.is_(None)),
            ),
        )
        same_channel = other.channel == Outbox.channel
        has_unsent_parent = and_(
            parent.key == Outbox.thread_key,
            parent.ts.is_(None),
            parent.state.in_(outbox.UNDELIVERED),
        )
        return (
            Outbox.team_id == self._database.settings.team_id,
            or_(and_(is_waiting, is_time), is_abandoned),
            ~exists().where(
                same_channel,
                other.allowance_used_until > now + self._pacing.overdraft,
                other.allowance_used_until <= now + _FAR,
            ),
            ~exists().where(same_channel, is_being_sent),
            or_(Outbox.ts.is_not(None), ~exists().where(same_channel, waits_before)),
            or_(Outbox.thread_key.is_(None), ~exists().where(has_unsent_parent)),
        )

    def _claim(self) -> Claim | None:
        """Claim the row that has waited longest, by compare-and-set.

        An expired claim counts as an ambiguous attempt.
        """
        with self._database.transaction() as session:
            advisory_lock(session, "outbox")  # two senders must not use a channel at once
            now = clock.wall()
            row_id = session.scalar(
                select(Outbox.id)
                .where(*self._due(now))
                .order_by(Outbox.next_at, Outbox.id)
                .limit(1)
            )
            if row_id is None:
                return None
            abandoned = case((and_(Outbox.state == "sending", Outbox.ts.is_(None)), 1), else_=0)
            session.change(
                update(Outbox)
                .where(Outbox.id == row_id)
                .values(
                    state="sending",
                    attempts=Outbox.attempts + 1,
                    ambiguous=Outbox.ambiguous + abandoned,
                    lease_until=now + timedelta(seconds=self._pacing.lease),
                    first_try=func.coalesce(Outbox.first_try, literal(now, Utc())),
                )
            )
            return self._claimed(session, session.get_one(Outbox, row_id, populate_existing=True))

    def _claimed(self, session: Transaction, row: Outbox) -> Claim:
        parent = None
        if row.thread_key:
            parent = session.scalar(select(Outbox).where(Outbox.key == row.thread_key))
        if parent is None and (place := threads.place_of(row.thread_key)):
            channel, ts = place
            is_there = row.channel_id in (None, channel)
            return Claim(
                row, thread_ts=ts if is_there else None, channel_id=row.channel_id or channel
            )
        if parent is None or not parent.ts:
            return Claim(row, thread_ts=None, channel_id=row.channel_id)
        # The parent may itself be a reply, and Slack wants the thread's first message.
        root = parent.thread_ts or parent.ts
        return Claim(row, thread_ts=root, channel_id=row.channel_id or parent.channel_id)

    # ------------------------------------------------------------ result of a call

    def _record_sent(self, claim: Claim, sent: SentMessage) -> None:
        row = claim.row
        self._settle(
            claim,
            ts=sent.ts,
            channel_id=sent.channel_id,
            thread_ts=claim.thread_ts,
            sent_revision=sent.revision,
            sent_at=clock.wall(),
            attempts=0,
            ambiguous=0,
            error=None,
            next_at=clock.wall(),
            state=case((Outbox.revision > sent.revision, "pending"), else_="sent"),
            delivered=[*row.payload.get("images", {}).values(), row.payload.get("file")],
        )

    def _failure_of(self, claim: Claim, error: Exception) -> Failure:
        try:
            return slack_client.classify(error)
        except Exception:
            log.exception("cannot send %s", claim.row.key)  # our mistake; a retry would not help
            return Failure(FailureKind.REFUSED, f"{type(error).__name__}: {error}"[:200])

    def _record_failure(self, claim: Claim, failure: Failure) -> None:
        row, now = claim.row, clock.wall()
        log.warning("%s to %s: %s (%s)", row.key, row.channel, failure.code, failure.kind.value)
        traces.fail(failure.code)
        match failure.kind:
            case FailureKind.RATE_LIMITED:
                # Slack's own allowance for the channel is used up, so ours is too.
                self._retry_later(
                    claim, "rate_limited", failure.retry_after, failure, calls=self._pacing.burst
                )
            case FailureKind.UNREACHABLE:
                self._retry_later(claim, "pending", min(30, 2**row.attempts), failure)
            case FailureKind.INSTALLATION:
                self._retry_later(claim, "pending", 60, failure)
            case FailureKind.AMBIGUOUS if row.ts is not None or not claim.posting:
                self._retry_later(claim, self._retry_state(row), min(30, 2**row.attempts), failure)
            case FailureKind.AMBIGUOUS:
                held = row.ambiguous + 1 > self._pacing.max_ambiguous
                self._settle(
                    claim,
                    state="held" if held else "ambiguous",
                    ambiguous=row.ambiguous + 1,
                    error=failure.code,
                    next_at=now + timedelta(seconds=self._pacing.recheck_after),
                )
            case FailureKind.MESSAGE_MISSING:  # a person deleted it: post it again
                self._settle(
                    claim, state="pending", ts=None, channel_id=None, first_try=None, next_at=now
                )
            case FailureKind.CHANNEL_DENIED if (
                direct := self._transport.direct_message(claim)
            ) is not None:
                self._settle(
                    claim, state="pending", channel_id=direct, error=failure.code, next_at=now
                )
            case _ if (
                failure.code in ("invalid_blocks", "invalid_arguments")
                and row.payload.get("images")
                and row.attempts < 5
            ):
                self._retry_later(claim, "pending", 3, failure)  # Slack still processes an image
            case _:
                log.error("%s is failed for good: %s", row.key, failure.code)
                self._settle(claim, state="failed", error=failure.code)

    @staticmethod
    def _retry_state(row: Outbox) -> str:
        return "ambiguous" if row.ambiguous and row.ts is None else "pending"

    def _retry_later(
        self, claim: Claim, state: str, seconds: float, failure: Failure, *, calls: int = 1
    ) -> None:
        at = clock.wall() + timedelta(seconds=seconds)
        self._settle(claim, calls=calls, state=state, next_at=at, error=failure.code)

    def _settle(
        self, claim: Claim, *, delivered: Sequence[str | None] = (), calls: int = 1, **values: Any
    ) -> None:
        """End our claim, spend the channel's allowance and drop sensitive content.

        Does nothing if another sender has claimed the row since.
        """
        row = claim.row
        with self._database.transaction() as session:
            # Counted after the call: before it, an upload may have taken seconds, and the calls
            # would come closer together at Slack than here.
            values["allowance_used_until"] = self._used_until(session, row.channel, calls)
            is_ours = Outbox.state == "sending", Outbox.attempts == row.attempts
            ended = update(Outbox).where(Outbox.id == row.id, *is_ours)
            ended = ended.values(lease_until=None, **values)
            if session.change(ended):
                outbox.drop_sensitive_content(session, File.id.in_(delivered))

    def _used_until(self, session: Transaction, channel: str, calls: int) -> datetime:
        """Return the end of a channel's used allowance after some more calls."""
        now = clock.wall()
        used = session.scalar(
            select(func.max(Outbox.allowance_used_until)).where(
                Outbox.channel == channel, Outbox.allowance_used_until.between(now, now + _FAR)
            )
        )
        spent = max(used or now, now) + timedelta(seconds=calls * self._pacing.channel_gap)
        return min(spent, now + timedelta(seconds=self._pacing.burst * self._pacing.channel_gap))
