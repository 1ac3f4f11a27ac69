"""Decide when scores are published for other systems: every night after four o'clock.

Mail platforms get each publication once.
"""

from datetime import datetime, time, timedelta

from sqlalchemy import select

from retention.connect.contract import TEMPORARY, UNFINISHED, UNREAD
from retention.connect.platforms import profiles
from retention.connect.readers import api_keys
from retention.db import Transaction
from retention.db.tables import Connection, Job
from workers.typed_times import next_local_time

# Kinds of connections that report bounces and take profiles and lists.
TAKERS = ("brevo", "customer.io", "klaviyo", "mailchimp", "sendgrid")
PUBLISH_AT = time(4)  # in the shop's zone, after the night's imports


def due(session: Transaction, now: datetime) -> str | None:
    """Return the idempotency key of the publication that is due.

    The first one is due as soon as a key exists, because its user would find nothing.
    """
    if not _has_readers(session):
        return None
    local = now.astimezone(session.settings.zone)
    day = local.date() if local.time() >= PUBLISH_AT else local.date() - timedelta(days=1)
    key = f"publish_profiles:{session.settings.team_id}:{day}"
    return None if session.scalar(select(Job.id).where(Job.idem_key == key)) else key


def next_moment(session: Transaction, after: datetime) -> datetime | None:
    """Return the time of the next publication."""
    if not _has_readers(session):
        return None
    return next_local_time(PUBLISH_AT, session.settings.zone, after)


def platforms_due(session: Transaction, now: datetime) -> list[tuple[Connection, int, str]]:
    """Return the mail platforms that lack the newest publication.

    One that did not answer gets it again in the next hour, and one with more customers than a job
    can hand over gets the rest. Opens and clicks that are left to read are read then, too.
    """
    snapshot = profiles.newest_snapshot(session)
    if snapshot is None:
        return []
    due_now = [
        (connection, snapshot.id, _sync_key(connection, snapshot.id, now))
        for connection in _takers(session)
    ]
    return [
        one for one in due_now if not session.scalar(select(Job.id).where(Job.idem_key == one[2]))
    ]


def _sync_key(connection: Connection, snapshot_id: int, now: datetime) -> str:
    key = f"platform_sync:{connection.id}:{snapshot_id}"
    rests = (connection.config.get(name) or {} for name in (UNFINISHED, UNREAD))
    has_rest = any(rest.get("snapshot_id") == snapshot_id for rest in rests)
    is_repeated = connection.error_code in TEMPORARY or (has_rest and not connection.error_code)
    return f"{key}:{now:%Y%m%d%H}" if is_repeated else key


def _has_readers(session: Transaction) -> bool:
    return api_keys.has_keys(session) or bool(_takers(session))


def _takers(session: Transaction) -> list[Connection]:
    is_taker = (
        Connection.team_id == session.settings.team_id,
        Connection.state == "active",
        Connection.kind.in_(TAKERS),
    )
    return list(session.scalars(select(Connection).where(*is_taker).order_by(Connection.id)))
