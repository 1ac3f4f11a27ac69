"""Tell people when a sender of live events goes silent, and when it sends again."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select

from retention.connect.live import silent_senders
from retention.db import Transaction
from retention.db.tables import LiveSender, Schedule, Source
from workers import roles
from workers.tasks.interface import Post


def silent_posts(session: Transaction, now: datetime) -> tuple[Post, ...]:
    """Return one message for each sender that went silent."""
    return tuple(
        _post(session, row, "source/problem", {"facts": _facts(row)}, row.last_at)
        for row in silent_senders.newly_silent(session, now)
    )


def back_posts(session: Transaction, back: Sequence[LiveSender], now: datetime) -> tuple[Post, ...]:
    """Return one message for each sender that sends again.

    `back`: from `retention.connect.live.silent_senders.note`.
    """
    return tuple(_post(session, row, "source/over", {}, now) for row in back)


def _facts(row: LiveSender) -> dict[str, Any]:
    return {"since": row.last_at.isoformat(), "is_live": True}


def _post(
    session: Transaction, row: LiveSender, template: str, values: dict[str, Any], at: datetime
) -> Post:
    key = f"{template}:{row.name[:80]}:{at.isoformat()}"
    data = {"name": row.name, "problem": "silent", **values}
    return Post(template, data, key=key, channel=owner(session))


def owner(session: Transaction) -> str | None:
    """Return who hears of incoming data: the channel of sources, else of the digest, else an admin.

    A live sender has a key and no channel of its own.
    """
    of_source = (
        select(Source.channel)
        .where(Source.team_id == session.settings.team_id, Source.channel.is_not(None))
        .order_by(Source.kind != "shop", Source.id)
    )
    channel = session.scalar(of_source.limit(1)) or digest_channel(session)
    return channel or next(iter(roles.holders(session, "admin")), None)


def digest_channel(session: Transaction) -> str | None:
    """Return the channel of the newest digest that is scheduled."""
    digests = select(Schedule.channel).where(
        Schedule.team_id == session.settings.team_id,
        Schedule.kind == "digest",
        Schedule.active.is_(True),
        Schedule.channel.is_not(None),
    )
    return session.scalar(digests.order_by(Schedule.id.desc()).limit(1))
