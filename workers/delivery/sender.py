"""The sender makes Slack agree with the outbox: one visible message a row, in order, never twice.

A row is claimed by compare-and-set and delivered outside any transaction. A time-out may hide an accepted post, so a
row with doubt waits and looks for its own key in the channel before it is sent again; after too many doubts it is
held for a person. Updates are idempotent and need no such care. See docs/delivery.md.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from slack_sdk import WebClient
from sqlalchemy import ColumnElement, and_, case, exists, func, literal, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, aliased

from retention import clock
from retention.db import Database
from retention.db.engine import advisory_lock
from retention.db.tables import File, Outbox, Utc
from retention.settings import Settings
from workers.delivery import outbox, slack
from workers.delivery.carrier import Carrier, Parcel, Sent
from workers.delivery.slack import Failure, Meaning

log = logging.getLogger(__name__)

# Ahead of now, more than anything is made to wait: it was written while this machine's clock was wrong, and is not waited for.
_FAR = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between two calls for a channel; before looking after a doubt; of a claim; between two idle looks."""

    gap: float = 1.05
    doubt: float = 30.0
    lease: float = 60.0
    idle: float = 0.3
    doubts: int = 3


class Sender:
    """Delivers the outbox of one installation. Two of them running do no harm.

    Parameters
    ----------
    web : WebClient, optional
        Slack, or its stand-in; by default the installation's.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        web: WebClient | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._settings, self._database, self._pace = settings, database, pace or Pace()
        self._carrier = Carrier(settings, database, web or slack.client(settings, database))

    def run(self, stop: threading.Event) -> None:
        """Deliver until ``stop`` is set; survives a database that is away."""
        while not stop.is_set():
            try:
                busy = self.step()
            except SQLAlchemyError as error:
                log.warning("the sender waits for the database: %s", error)
                stop.wait(2)
                continue
            if not busy:
                stop.wait(self._pace.idle)

    def step(self) -> bool:
        """Deliver the next row that is due; False where there is none."""
        now = clock.wall()
        with self._database.reading() as session:
            if session.scalar(select(Outbox.id).where(*self._due(now)).limit(1)) is None:
                return False
        parcel = self._claim()
        if parcel is None:
            return False
        try:
            sent = self._carrier.deliver(parcel)
        except Exception as error:
            self._note_failure(parcel, self._judged(parcel, error))
        else:
            self._note_sent(parcel, sent)
        return True

    # ------------------------------------------------------------ which row

    def _due(self, now: datetime) -> tuple[ColumnElement[bool], ...]:
        """Due, its channel rested, nothing of its channel under way, nothing before it in its thread, its parent up.

        Each question has an index that does not lead through all that was ever sent to the channel.
        """
        other, parent = aliased(Outbox), aliased(Outbox)
        waiting = Outbox.state.in_(("pending", "rate_limited", "ambiguous"))
        ripe = or_(Outbox.next_at <= now, Outbox.next_at > now + _FAR)
        forgotten = and_(
            Outbox.state == "sending",
            or_(Outbox.lease_until < now, Outbox.lease_until > now + _FAR),
        )
        rested = now - timedelta(seconds=self._pace.gap)
        under_way = and_(
            other.state == "sending",
            other.lease_until.between(now, now + _FAR),
            other.id != Outbox.id,
        )
        before = and_(
            other.id < Outbox.id,
            other.ts.is_(None),
            other.state.in_(outbox.UNDELIVERED),
            or_(
                other.thread_key == Outbox.thread_key,
                and_(other.thread_key.is_(None), Outbox.thread_key.is_(None)),
            ),
        )
        same = other.channel == Outbox.channel
        orphan = and_(
            parent.key == Outbox.thread_key,
            parent.ts.is_(None),
            parent.state.in_(outbox.UNDELIVERED),
        )
        return (
            Outbox.team_id == self._settings.team_id,
            or_(and_(waiting, ripe), forgotten),
            ~exists().where(same, other.sent_at > rested, other.sent_at <= now + _FAR),
            ~exists().where(same, under_way),
            or_(Outbox.ts.is_not(None), ~exists().where(same, before)),
            or_(Outbox.thread_key.is_(None), ~exists().where(orphan)),
        )

    def _claim(self) -> Parcel | None:
        """Take the row that waits longest, by compare-and-set; a claim that was forgotten counts as a doubt."""
        with self._database.transaction() as session:
            advisory_lock(session, "outbox")  # two senders must not both find a channel rested
            now = clock.wall()
            row_id = session.scalar(
                select(Outbox.id)
                .where(*self._due(now))
                .order_by(Outbox.next_at, Outbox.id)
                .limit(1)
            )
            if row_id is None:
                return None
            forgotten = case((and_(Outbox.state == "sending", Outbox.ts.is_(None)), 1), else_=0)
            session.execute(
                update(Outbox)
                .where(Outbox.id == row_id)
                .values(
                    state="sending",
                    attempts=Outbox.attempts + 1,
                    ambiguous=Outbox.ambiguous + forgotten,
                    lease_until=now + timedelta(seconds=self._pace.lease),
                    first_try=func.coalesce(Outbox.first_try, literal(now, Utc())),
                )
                .execution_options(synchronize_session=False)
            )
            return self._parcel(session, session.get_one(Outbox, row_id, populate_existing=True))

    def _parcel(self, session: Session, row: Outbox) -> Parcel:
        parent = (
            session.scalar(select(Outbox).where(Outbox.key == row.thread_key))
            if row.thread_key
            else None
        )
        if parent is None or not parent.ts:
            return Parcel(row, thread_ts=None, channel_id=row.channel_id)
        return Parcel(row, thread_ts=parent.ts, channel_id=row.channel_id or parent.channel_id)

    # ------------------------------------------------------------ what became of it

    def _note_sent(self, parcel: Parcel, sent: Sent) -> None:
        row = parcel.row
        self._settle(
            parcel,
            ts=sent.ts,
            channel_id=sent.channel_id,
            thread_ts=parcel.thread_ts,
            sent_revision=sent.revision,
            sent_at=clock.wall(),
            attempts=0,
            ambiguous=0,
            error=None,
            next_at=clock.wall(),
            state=case((Outbox.revision > sent.revision, "pending"), else_="sent"),
            delivered=[*row.payload.get("images", {}).values(), row.payload.get("file")],
        )

    def _judged(self, parcel: Parcel, error: Exception) -> Failure:
        try:
            return slack.judge(error)
        except Exception:
            log.exception(
                "cannot send %s", parcel.row.key
            )  # a mistake of ours: it will not mend by itself
            return Failure(Meaning.REFUSED, f"{type(error).__name__}: {error}"[:200])

    def _note_failure(self, parcel: Parcel, failure: Failure) -> None:
        row, now = parcel.row, clock.wall()
        log.warning("%s to %s: %s (%s)", row.key, row.channel, failure.code, failure.meaning.value)
        match failure.meaning:
            case Meaning.RATE_LIMITED:
                self._later(parcel, "rate_limited", failure.retry_after, failure)
            case Meaning.UNREACHABLE:
                self._later(parcel, "pending", min(30, 2**row.attempts), failure)
            case Meaning.INSTALLATION:
                self._later(parcel, "pending", 60, failure)
            case Meaning.DOUBT if row.ts is not None or not parcel.posting:
                self._later(parcel, self._undoubted(row), min(30, 2**row.attempts), failure)
            case Meaning.DOUBT:
                held = row.ambiguous + 1 > self._pace.doubts
                self._settle(
                    parcel,
                    state="held" if held else "ambiguous",
                    ambiguous=row.ambiguous + 1,
                    error=failure.code,
                    next_at=now + timedelta(seconds=self._pace.doubt),
                )
            case Meaning.GONE:  # somebody deleted it: what it says must not be lost with it
                self._settle(
                    parcel, state="pending", ts=None, channel_id=None, first_try=None, next_at=now
                )
            case Meaning.NO_ENTRY if (direct := self._carrier.direct_message(parcel)) is not None:
                self._settle(
                    parcel, state="pending", channel_id=direct, error=failure.code, next_at=now
                )
            case _ if (
                failure.code == "invalid_blocks" and row.payload.get("images") and row.attempts < 5
            ):
                self._later(parcel, "pending", 3, failure)  # Slack is still digesting a picture
            case _:
                log.error("%s is failed for good: %s", row.key, failure.code)
                self._settle(parcel, state="failed", error=failure.code)

    @staticmethod
    def _undoubted(row: Outbox) -> str:
        return "ambiguous" if row.ambiguous and row.ts is None else "pending"

    def _later(self, parcel: Parcel, state: str, seconds: float, failure: Failure) -> None:
        at = clock.wall() + timedelta(seconds=seconds)
        self._settle(parcel, state=state, next_at=at, error=failure.code)

    def _settle(
        self, parcel: Parcel, *, delivered: Sequence[str | None] = (), **values: Any
    ) -> None:
        """Note the end of our claim and drop sensitive bytes of the ``delivered`` files; nothing where another sender has
        taken the row over since.
        """
        row = parcel.row
        with self._database.transaction() as session:
            ours = session.execute(
                update(Outbox)
                .where(
                    Outbox.id == row.id, Outbox.state == "sending", Outbox.attempts == row.attempts
                )
                .values(lease_until=None, **values)
                .execution_options(synchronize_session=False)
            )
            if ours.rowcount:  # type: ignore[attr-defined]
                outbox.forget_bytes(session, File.id.in_(delivered))
