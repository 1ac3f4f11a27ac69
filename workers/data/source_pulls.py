"""Decide when sources are pulled, and tell people of their problems and of silent senders."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from retention.connect.live import silent_senders
from retention.connect.sources import source_records
from retention.connect.sources.source_records import News
from retention.db import Transaction
from retention.db.tables import Job, LiveSender, Schedule, Source
from retention.errors import BadInput
from retention.text import gettext
from workers import user_roles
from workers.job_requests import SourcePull
from workers.queue import jobs, quotas
from workers.schedule.cadence import Cadence, parse_every
from workers.tasks.interface import Post
from workers.typed_times import due_at

HOURLY, NIGHT = "hour", "daily 03:00"
_HOUR_WORDS = ("hour", "hourly", "every hour", "1h")
_NIGHT_WORDS = ("night", "nightly", "every night")


def parse_interval(text: str) -> str:
    """Return how often a source is pulled, as it is stored.

    `text`: ``hour``, ``night``, or days and a time such as ``daily 03:00``.

    Examples
    --------
    >>> parse_interval("night"), parse_interval("Mon 9:00")
    ('daily 03:00', 'mon 09:00')
    """
    words = " ".join(text.lower().split())
    if words in _HOUR_WORDS:
        return HOURLY
    if words in _NIGHT_WORDS:
        return NIGHT
    try:
        return str(parse_every(text))
    except BadInput as error:
        message = gettext("{reason} A source also takes `hour` and `night`.")
        raise BadInput(message.format(reason=error), field="every") from None


def period(every: str) -> timedelta:
    """Return the usual time between two pulls."""
    if every == HOURLY:
        return timedelta(hours=1)
    cadence = parse_every(every)
    if cadence.monthday is not None:
        return timedelta(days=31)
    return timedelta(days=1 if cadence.weekday is None else 7)


def next_pull(every: str, timezone: str, after: datetime) -> datetime:
    """Return the first time after a moment at which a source is due.

    `every`: from `parse_interval`.
    """
    if every == HOURLY:
        return after.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    cadence: Cadence = parse_every(every)
    day = after.astimezone(ZoneInfo(timezone)).date()
    while True:
        if cadence.includes(day) and (at := due_at(day, cadence.at, timezone)) > after:
            return at
        day += timedelta(days=1)


def submit_due(session: Transaction, source: Source, now: datetime) -> list[Job]:
    """Submit the pull of a due source, unless its last one still runs.

    Missed pulls are not made up for, because one pull brings everything that is new.
    """
    due = source.next_at
    source.next_at = next_pull(source.every, source.timezone, now)
    if due is None or is_pulling(session, source.name):
        return []
    request = SourcePull(name=source.name, scheduled=True)
    # By the desk: who added the source may have lost the role.
    key = f"source:{source.id}:{due.isoformat()}"
    return jobs.submit_due(session, request, key, channel=source.channel).new


def is_pulling(session: Transaction, name: str) -> bool:
    """Return whether a pull of the source is queued or runs."""
    is_own = Job.team_id == session.settings.team_id
    open_pulls = session.scalars(
        select(Job.args).where(is_own, Job.kind == SourcePull.kind, Job.state.in_(quotas.OPEN))
    )
    return any(args.get("name") == name for args in open_pulls)


def posts(source: Source, news: News, job_id: str) -> tuple[Post, ...]:
    """Return the message about a problem that began or is over.

    `news`: from `retention.connect.sources.source_records.store_run`.
    """
    if not source.channel or not (news.problem or news.over):
        return ()
    values: dict[str, Any] = {"name": source.name}
    if news.problem:
        template = "source/problem"
        values |= {"problem": news.problem, "facts": dict(news.facts)}
    else:
        template, values = "source/over", values | {"problem": news.over}
    return (Post(template, values, key=f"source:{source.id}:{job_id}", channel=source.channel),)


def shown(session: Transaction) -> list[dict[str, Any]]:
    """Return all sources as data for lists."""
    return [source_records.summary(session, source) for source in source_records.sources(session)]


def silent_posts(session: Transaction, now: datetime) -> tuple[Post, ...]:
    """Return one message for each sender that went silent."""
    return tuple(
        _sender_post(session, row, "source/problem", row.last_at)
        for row in silent_senders.newly_silent(session, now)
    )


def back_posts(session: Transaction, back: Sequence[LiveSender], now: datetime) -> tuple[Post, ...]:
    """Return one message for each sender that sends again.

    `back`: from `retention.connect.live.silent_senders.note`.
    """
    return tuple(_sender_post(session, row, "source/over", now) for row in back)


def _sender_post(session: Transaction, row: LiveSender, template: str, at: datetime) -> Post:
    key = f"{template}:{row.name[:80]}:{at.isoformat()}"
    data: dict[str, Any] = {"name": row.name, "problem": "silent"}
    if template == "source/problem":
        data["facts"] = {"since": at.isoformat(), "is_live": True}
    return Post(template, data, key=key, channel=owner(session))


def owner(session: Transaction) -> str | None:
    """Return who hears of incoming data: the channel of sources, else of the digest, else an admin.

    A live sender has a key and no channel of its own.
    """
    owned = session.own(Source).where(Source.channel.is_not(None)).limit(1)
    source = session.scalar(owned.order_by(Source.kind != "shop", Source.id))
    channel = source.channel if source else digest_channel(session)
    return channel or next(iter(user_roles.holders(session, "admin")), None)


def digest_channel(session: Transaction) -> str | None:
    """Return the channel of the newest digest that is scheduled."""
    digests = session.own(Schedule, kind="digest", active=True)
    digests = digests.where(Schedule.channel.is_not(None)).order_by(Schedule.id.desc())
    newest = session.scalar(digests.limit(1))
    return newest.channel if newest else None
