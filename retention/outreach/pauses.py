"""Keep single customers out of campaigns for some time, because a person said so."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from retention.db.audit import record
from retention.db.insert import upsert
from retention.db.tables import Pause
from retention.privacy import pseudonym
from retention.settings import Settings

DAYS = 30


def pause(
    session: Session,
    settings: Settings,
    customer_id: str,
    by: str,
    now: datetime,
    days: int = DAYS,
) -> datetime:
    """Exclude a customer from new drafts, and return the end of the exclusion.

    The audit log names the customer by pseudonym.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    customer_id : str
        The customer.
    by : str
        Slack user id.
    now : datetime
        Business time.
    days : int
        Length of the exclusion.
    """
    until = now + timedelta(days=days)
    key = {"team_id": settings.team_id, "customer_id": customer_id}
    upsert(session, Pause, key, until=until, by=by, at=now)
    subject = pseudonym(settings.key, customer_id)
    details = {"until": until.isoformat(), "days": days}
    record(session, settings, by, "customer.exclude", subject, now, details)
    return until


def resume(session: Session, settings: Settings, customer_id: str, by: str, now: datetime) -> None:
    """End a customer's exclusion.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    customer_id : str
        The customer.
    by : str
        Slack user id.
    now : datetime
        Business time.
    """
    own = Pause.team_id == settings.team_id, Pause.customer_id == customer_id
    session.execute(delete(Pause).where(*own), execution_options={"synchronize_session": False})
    subject = pseudonym(settings.key, customer_id)
    record(session, settings, by, "customer.include", subject, now, {})


def paused_customers(session: Session, settings: Settings, now: datetime) -> set[str]:
    """Return the customers who are excluded at a time.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    now : datetime
        Business time.
    """
    own = Pause.team_id == settings.team_id, Pause.until > now
    return set(session.scalars(select(Pause.customer_id).where(*own)))


def pause_of(
    session: Session, settings: Settings, customer_ids: Sequence[str], now: datetime
) -> Pause | None:
    """Return the exclusion of a customer, if it has not ended.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    customer_ids : sequence of str
        The customer's ids, merged ones included.
    now : datetime
        Business time.
    """
    return session.scalars(
        select(Pause)
        .where(
            Pause.team_id == settings.team_id,
            Pause.customer_id.in_(list(customer_ids)),
            Pause.until > now,
        )
        .order_by(Pause.until.desc())
        .limit(1)
    ).first()
