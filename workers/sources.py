"""Decide when sources are pulled, and publish what people should hear of them."""

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.connect import sources
from retention.connect.sources import News
from retention.db.tables import Job, Source
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext
from workers import jobs, quotas, roles
from workers.cadence import Cadence, parse_every
from workers.requests import SourcePull
from workers.tasks.interface import Post
from workers.times import due_at

HOURLY, NIGHT = "hour", "daily 03:00"
_HOUR_WORDS = ("hour", "hourly", "every hour", "1h")
_NIGHT_WORDS = ("night", "nightly", "every night")


def parse_interval(text: str) -> str:
    """Return how often a source is pulled, as it is stored.

    Parameters
    ----------
    text : str
        ``hour``, ``night``, or days and a time such as ``daily 03:00``.

    Raises
    ------
    BadInput
        It is none of these.

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
        raise BadInput(
            gettext("{reason} A source also takes `hour` and `night`.").format(reason=error),
            field="every",
        ) from None


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

    Parameters
    ----------
    every : str
        From `parse_interval`.
    timezone : str
        IANA zone.
    after : datetime
        Business time.
    """
    if every == HOURLY:
        return after.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    cadence: Cadence = parse_every(every)
    day = after.astimezone(ZoneInfo(timezone)).date()
    while True:
        if cadence.includes(day) and (at := due_at(day, cadence.at, timezone)) > after:
            return at
        day += timedelta(days=1)


def submit_due(session: Session, settings: Settings, source: Source, now: datetime) -> list[Job]:
    """Submit the pull of a due source, unless its last one still runs.

    Missed pulls are not made up for, because one pull brings everything that is new.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    source : Source
        Due.
    now : datetime
        Business time.
    """
    due = source.next_at
    source.next_at = next_pull(source.every, source.timezone, now)
    if due is None or is_pulling(session, settings, source.name):
        return []
    submission = jobs.submit(
        session,
        settings,
        SourcePull(name=source.name, scheduled=True),
        requested_by=roles.OPERATOR,  # who added it may have lost the role
        channel=source.channel,
        idem_key=f"source:{source.id}:{due.isoformat()}",
        announce=False,
        limited=False,
    )
    return [submission.job] if submission.created else []


def is_pulling(session: Session, settings: Settings, name: str) -> bool:
    """Return whether a pull of the source is queued or runs."""
    open_pulls = session.scalars(
        select(Job.args).where(
            Job.team_id == settings.team_id,
            Job.kind == SourcePull.kind,
            Job.state.in_(quotas.OPEN),
        )
    )
    return any(args.get("name") == name for args in open_pulls)


def posts(source: Source, news: News, job_id: str) -> tuple[Post, ...]:
    """Return the message about a problem that began or is over.

    Parameters
    ----------
    source : Source
        Its channel gets the message.
    news : News
        From `retention.connect.sources.store_run`.
    job_id : str
        The pull; part of the message's key.
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


def shown(session: Session, settings: Settings) -> list[dict[str, Any]]:
    """Return all sources as data for lists."""
    return [sources.summary(session, source) for source in sources.sources(session, settings)]
