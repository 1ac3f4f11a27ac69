"""Notice when a system that sends live events goes silent.

A sender is the ``source`` of its events. Silence is measured against its own rhythm: a shop that
sells by day is quiet each night.
"""

import itertools
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func

from retention import clock
from retention.connect.sources.source_records import longest_usual_gap
from retention.db import Transaction
from retention.db.tables import EventBatch, LiveSender

HOUR = timedelta(hours=1)
KEPT = timedelta(days=14)  # two weekends of a sender's rhythm
MIN_SPAN, MIN_HOURS = timedelta(days=6), 24  # of a rhythm; a sender that is only tried has none
MAX_SENDERS = 20  # anyone with a key may name further ones
_EVERY = timedelta(minutes=1)  # the last time is stored at most so often
_BEHIND = timedelta(minutes=5)  # events that wait longer say that the desk is behind, not a sender


def note(session: Transaction, names: Collection[str], now: datetime) -> list[LiveSender]:
    """Store that senders sent events; return those that people thought silent."""
    known = {row.name: row for row in senders(session)} if names else {}
    back = []
    for name in sorted(names):
        row = known.get(name)
        if row is None:
            if len(known) < MAX_SENDERS:
                own = {"team_id": session.settings.team_id, "hours": [_hour(now).isoformat()]}
                known[name] = LiveSender(**own, name=name, last_at=now, silent_since=None)
                session.add(known[name])
            continue
        if row.silent_since is not None:
            row.silent_since = None
            back.append(row)
        elif now - row.last_at < _EVERY:
            continue
        hours, hour = _hours(row), _hour(now)
        if hour > hours[-1]:
            recent = [each for each in [*hours, hour] if hour - each <= KEPT]
            row.hours = [each.isoformat() for each in recent]
        row.last_at = max(now, row.last_at)
    return back


def newly_silent(session: Transaction, now: datetime) -> list[LiveSender]:
    """Return the senders that went silent, once each; none while the desk itself is behind."""
    silent = [
        row
        for row in senders(session)
        if row.silent_since is None and (due := _silent_at(row)) is not None and now > due
    ]
    if not silent or _is_behind(session):
        return []
    for row in silent:
        row.silent_since = row.last_at
    return silent


def next_check(session: Transaction, after: datetime) -> datetime | None:
    """Return the first time after a moment at which a sender would have gone silent."""
    moments = [
        due + _EVERY
        for row in senders(session)
        if row.silent_since is None and (due := _silent_at(row)) is not None
    ]
    return min((moment for moment in moments if moment > after), default=None)


def senders(session: Transaction) -> list[LiveSender]:
    """Return all senders by name."""
    return list(session.scalars(session.own(LiveSender).order_by(LiveSender.name)))


def usual_silence(hours: Sequence[datetime]) -> timedelta | None:
    """Return how long a sender is silent at most; None without a rhythm.

    `hours`: begins of the hours with events, the oldest first.

    Examples
    --------
    >>> from datetime import UTC
    >>> first = datetime(2025, 7, 1, tzinfo=UTC)
    >>> usual_silence([first + number * HOUR for number in range(168)])
    datetime.timedelta(seconds=10800)
    >>> usual_silence([first, first + 8 * HOUR])
    """
    if len(hours) < MIN_HOURS or hours[-1] - hours[0] < MIN_SPAN:
        return None
    longest = max(later - earlier for earlier, later in itertools.pairwise(hours))
    return max(longest_usual_gap(hours[::-1], HOUR), longest + HOUR)


def _silent_at(row: LiveSender) -> datetime | None:
    usual = usual_silence(_hours(row))
    return None if usual is None else row.last_at + usual


def _is_behind(session: Transaction) -> bool:
    events = session.own(EventBatch, kind="events")
    oldest = session.scalar(events.with_only_columns(func.min(EventBatch.received_at)))
    return oldest is not None and clock.wall() - oldest > _BEHIND


def _hours(row: LiveSender) -> list[datetime]:
    return [datetime.fromisoformat(hour) for hour in row.hours]


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
