"""When the model in use is looked at, and where a warning goes. SQL only."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.tables import Job, ModelVersion, Schedule
from retention.registry import champion
from retention.settings import Settings
from workers.requests import Monitor

EVERY = timedelta(days=7)


def due(
    session: Session, settings: Settings, now: datetime
) -> tuple[Monitor, str, str | None] | None:
    """The look that is due at ``now``, its idempotency key and its channel; None where there is none or it was made.

    The churn champion is looked at each week from its promotion on; weeks that were missed are not made up for.
    """
    row = champion(session, settings, "churn")
    if row is None or row.promoted_at is None or (week := (now - row.promoted_at) // EVERY) < 1:
        return None
    key = f"monitor:{row.version}:{week}"
    if session.scalar(select(Job.id).where(Job.idem_key == key)):
        return None
    return Monitor(scheduled=True), key, _channel(session, settings, row)


def next_moment(session: Session, settings: Settings, after: datetime) -> datetime | None:
    """The first moment later than ``after`` at which the model is looked at."""
    row = champion(session, settings, "churn")
    if row is None or row.promoted_at is None:
        return None
    return row.promoted_at + EVERY * max((after - row.promoted_at) // EVERY + 1, 1)


def _channel(session: Session, settings: Settings, row: ModelVersion) -> str | None:
    """Where the digest goes; else where the model was asked for; else nowhere: the status shows it."""
    digest = session.scalar(
        select(Schedule.channel)
        .where(
            Schedule.team_id == settings.team_id,
            Schedule.kind == "digest",
            Schedule.active,
            Schedule.channel.is_not(None),
        )
        .order_by(Schedule.id.desc())
    )
    asked = session.scalar(select(Job.channel).where(Job.id == row.job_id)) if row.job_id else None
    return digest or asked
