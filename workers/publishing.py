"""Decide when scores are published for other systems: every night after four o'clock.

Mail platforms get each publication once.
"""

from datetime import datetime, time, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.connect import api_keys, profiles
from retention.connect.contract import TEMPORARY
from retention.db.tables import Connection, Job
from retention.settings import Settings
from workers.times import next_local_time

# Kinds of connections that report bounces and take profiles and lists.
TAKERS = ("brevo", "customer.io", "klaviyo", "mailchimp", "sendgrid")
# In a connection's settings: what a hand-over that needs a further job has completed.
UNFINISHED = "unfinished_hand_over"
PUBLISH_AT = time(4)  # in the shop's zone, after the night's imports


def due(session: Session, settings: Settings, now: datetime) -> str | None:
    """Return the idempotency key of the publication that is due.

    The first one is due as soon as a key exists, because its user would find nothing.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    now : datetime
        Business time.

    Returns
    -------
    str or None
        None if none is due, or nobody reads.
    """
    if not _has_readers(session, settings):
        return None
    local = now.astimezone(settings.zone)
    day = local.date() if local.time() >= PUBLISH_AT else local.date() - timedelta(days=1)
    key = f"publish_profiles:{settings.team_id}:{day}"
    return None if session.scalar(select(Job.id).where(Job.idem_key == key)) else key


def next_moment(session: Session, settings: Settings, after: datetime) -> datetime | None:
    """Return the time of the next publication.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    after : datetime
        Business time.

    Returns
    -------
    datetime or None
        None if nobody reads.
    """
    if not _has_readers(session, settings):
        return None
    return next_local_time(PUBLISH_AT, settings.zone, after)


def platforms_due(
    session: Session, settings: Settings, now: datetime
) -> list[tuple[Connection, int, str]]:
    """Return the mail platforms that lack the newest publication.

    One that did not answer gets it again in the next hour, and one with more customers than a job
    can hand over gets the rest.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of tuple
        Connection, id of the publication, and idempotency key of the job.
    """
    snapshot = profiles.newest_snapshot(session, settings)
    if snapshot is None:
        return []
    due_now = [
        (connection, snapshot.id, _sync_key(connection, snapshot.id, now))
        for connection in _takers(session, settings)
    ]
    return [
        one for one in due_now if not session.scalar(select(Job.id).where(Job.idem_key == one[2]))
    ]


def _sync_key(connection: Connection, snapshot_id: int, now: datetime) -> str:
    key = f"platform_sync:{connection.id}:{snapshot_id}"
    rest = connection.config.get(UNFINISHED)
    has_rest = rest is not None and rest["snapshot_id"] == snapshot_id
    is_repeated = connection.error_code in TEMPORARY or (has_rest and not connection.error_code)
    return f"{key}:{now:%Y%m%d%H}" if is_repeated else key


def _has_readers(session: Session, settings: Settings) -> bool:
    return api_keys.has_keys(session, settings) or bool(_takers(session, settings))


def _takers(session: Session, settings: Settings) -> list[Connection]:
    is_taker = (
        Connection.team_id == settings.team_id,
        Connection.state == "active",
        Connection.kind.in_(TAKERS),
    )
    return list(session.scalars(select(Connection).where(*is_taker).order_by(Connection.id)))
