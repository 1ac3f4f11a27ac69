"""Tell people when a sender of live events goes silent, and when it sends again."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.connect import senders
from retention.db.tables import LiveSender, Schedule, Source
from retention.settings import Settings
from workers import roles
from workers.tasks.interface import Post


def silent_posts(session: Session, settings: Settings, now: datetime) -> tuple[Post, ...]:
    """Return one message for each sender that went silent.

    Parameters
    ----------
    session : Session
        The caller's transaction, which stores that people know.
    settings : Settings
        Of the installation.
    now : datetime
        Business time.
    """
    return tuple(
        _post(session, settings, row, "source/problem", {"facts": _facts(row)}, row.last_at)
        for row in senders.newly_silent(session, settings, now)
    )


def back_posts(
    session: Session, settings: Settings, back: Sequence[LiveSender], now: datetime
) -> tuple[Post, ...]:
    """Return one message for each sender that sends again.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    back : sequence of LiveSender
        From `retention.connect.senders.note`.
    now : datetime
        Business time.
    """
    return tuple(_post(session, settings, row, "source/over", {}, now) for row in back)


def _facts(row: LiveSender) -> dict[str, Any]:
    return {"since": row.last_at.isoformat(), "is_live": True}


def _post(
    session: Session,
    settings: Settings,
    row: LiveSender,
    template: str,
    values: dict[str, Any],
    at: datetime,
) -> Post:
    key = f"{template}:{row.name[:80]}:{at.isoformat()}"
    data = {"name": row.name, "problem": "silent", **values}
    return Post(template, data, key=key, channel=owner(session, settings))


def owner(session: Session, settings: Settings) -> str | None:
    """Return who hears of incoming data: the channel of sources, else of the digest, else an admin.

    A live sender has a key and no channel of its own.
    """
    of_source = (
        select(Source.channel)
        .where(Source.team_id == settings.team_id, Source.channel.is_not(None))
        .order_by(Source.kind != "shop", Source.id)
    )
    of_digest = (
        select(Schedule.channel)
        .where(
            Schedule.team_id == settings.team_id,
            Schedule.kind == "digest",
            Schedule.active.is_(True),
            Schedule.channel.is_not(None),
        )
        .order_by(Schedule.id.desc())
    )
    for channels in (of_source, of_digest):
        if channel := session.scalar(channels.limit(1)):
            return channel
    return next(iter(roles.holders(session, settings, "admin")), None)
