"""Find the jobs that campaigns have due.

Reminders, expiry, end of clearance, sending and measuring. SQL only.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from retention import clock
from retention.campaigns import shop_codes
from retention.campaigns.states import IN_CLEARANCE
from retention.db.tables import Campaign, Job
from retention.outreach import sends
from retention.settings import Settings

# Longest wait after a repair until sending continues.
MAX_PAUSE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class DueJob:
    """A due job with its arguments and requester.

    ``answerable`` are the people that approved. If one of them is no approver any more, the
    campaign is stopped instead of sent.
    """

    kind: str
    args: dict[str, Any]
    idem_key: str
    requested_by: str
    channel: str | None
    thread_key: str
    answerable: tuple[str, ...]


def due_jobs(session: Session, settings: Settings, now: datetime) -> list[DueJob]:
    """Return the jobs due at a moment.

    Idempotency keys make repeated calls harmless.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of DueJob
    """
    jobs = [
        _due_job(
            campaign,
            "campaign_send",
            f"send:{campaign.id}:{campaign.version}",
            version=campaign.version,
        )
        # A campaign in ``sending`` has this job already, unless it failed.
        for campaign in _due_campaigns(
            session, settings, ("scheduled", "sending"), Campaign.send_at, now
        )
    ]
    over = _due_campaigns(session, settings, ("live", "measuring"), Campaign.window_ends_at, now)
    # Campaigns stopped while live are measured, too.
    over += _due_campaigns(
        session, settings, ("cancelled",), Campaign.window_ends_at, now, Campaign.result.is_(None)
    )
    # Once a day, until the orders of the window are imported (`is_waiting_for_orders`).
    jobs += [
        _due_job(campaign, "campaign_measure", f"measure:{campaign.id}:{now:%Y%m%d}")
        for campaign in over
        if not _has_open_job(session, "campaign_measure", campaign.id)
    ]
    # Once a minute, and at each stop of the time machine within a minute.
    minute = f"{clock.wall():%Y%m%d%H%M}:{now:%Y%m%d%H%M}"
    jobs += [
        _due_job(campaign, "shop_codes", f"shop_codes:{campaign.id}:{minute}")
        for campaign in shop_codes.due_campaigns(session, settings, now)
        if not _has_open_job(session, "shop_codes", campaign.id)
    ]
    return jobs + [
        _due_job(
            campaign,
            "campaign_deliver",
            f"deliver:{campaign.id}:{minute}",
            clock_offset=(now - clock.wall()).total_seconds(),
        )
        for campaign in sends.due_campaigns(session, settings.team_id, now)
        if not _has_open_job(session, "campaign_deliver", campaign.id)
        and not _is_pausing(session, campaign)
    ]


def cleared_campaigns(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Return approved campaigns after their clearance time.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of str
        Campaign ids.
    """
    return [
        campaign.id
        for campaign in _due_campaigns(session, settings, ("approved",), Campaign.clears_at, now)
    ]


def campaigns_to_remind(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Return submitted campaigns with a reminder due.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of str
        Campaign ids.
    """
    not_expired = Campaign.expires_at > now
    return [
        campaign.id
        for campaign in _due_campaigns(
            session, settings, ("submitted",), Campaign.remind_at, now, not_expired
        )
    ]


def expired_campaigns(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Return campaigns whose time for a decision or for sending is over.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of str
        Campaign ids.
    """
    states = ("submitted", *IN_CLEARANCE)
    return [
        campaign.id
        for campaign in _due_campaigns(session, settings, states, Campaign.expires_at, now)
    ]


def failed_sendings(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Return campaigns with failed sending and an expired approval.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of str
        Campaign ids.
    """
    overdue = _due_campaigns(session, settings, ("sending",), Campaign.expires_at, now)
    return [
        campaign.id
        for campaign in overdue
        if not _has_open_job(session, "campaign_send", campaign.id)
    ]


def next_moment(session: Session, settings: Settings, after: datetime) -> datetime | None:
    """Return the next moment with something due.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    after : datetime
        Business time.

    Returns
    -------
    datetime or None
        None if nothing is scheduled.
    """
    columns: tuple[tuple[tuple[str, ...], InstrumentedAttribute[datetime | None]], ...] = (
        (("submitted",), Campaign.remind_at),
        (("submitted", *IN_CLEARANCE, "sending"), Campaign.expires_at),
        (("approved",), Campaign.clears_at),
        (IN_CLEARANCE, Campaign.send_at),
        (("live", "cancelled"), Campaign.window_ends_at),
    )
    ahead = [
        at
        for states, column in columns
        for at in session.scalars(
            select(column)
            .where(Campaign.team_id == settings.team_id, Campaign.state.in_(states), column > after)
            .order_by(column)
            .limit(1)
        )
        if at is not None
    ]
    if quiet_ends := sends.next_quiet_hours_end(session, settings.team_id, after):
        ahead.append(quiet_ends)
    return min(ahead, default=None)


def _has_open_job(session: Session, kind: str, campaign_id: str) -> bool:
    """Whether a job of this kind is queued or running."""
    job = select(Job.id).where(
        Job.state.in_(("queued", "running")), *_job_conditions(kind, campaign_id)
    )
    return session.scalar(job.limit(1)) is not None


def last_attempt_failed(session: Session, campaign: Campaign) -> bool:
    """Whether the newest job that sends this version failed, or could not go on."""
    if campaign.state == "live":
        conditions = _job_conditions("campaign_deliver", campaign.id)
    elif campaign.state in (*IN_CLEARANCE, "sending"):
        of_version = Job.args["version"].as_integer() == campaign.version
        conditions = (*_job_conditions("campaign_send", campaign.id), of_version)
    else:
        return False
    newest = select(Job.state, Job.result).where(*conditions).order_by(Job.created_at.desc())
    last = session.execute(newest.limit(1)).first()
    return last is not None and _has_failed(last)


def _has_failed(job: Any) -> bool:
    return job.state in ("failed", "cancelled") or bool((job.result or {}).get("stopped"))


def _is_pausing(session: Session, campaign: Campaign) -> bool:
    """Whether sending pauses after a failed attempt.

    The pause is a tenth of the time since the last success. A short outage costs no time, and a
    long one is not retried each minute. All times are real time, because the time machine does not
    repair servers.
    """
    wall, at = clock.wall(), Job.created_at
    delivery_jobs = (
        Job.team_id == campaign.team_id,
        at <= wall,
        *_job_conditions("campaign_deliver", campaign.id),
    )
    newest = (
        select(at, Job.state, Job.result)
        .where(*delivery_jobs, at >= wall - MAX_PAUSE)
        .order_by(at.desc())
    )
    last = session.execute(newest.limit(1)).first()
    if last is None or not _has_failed(last):
        return False
    has_sent = Job.result["tried"]["sent"].as_integer() > 0
    is_complete = (Job.state == "done") & (Job.result["stopped"].as_string() == "")
    last_success = session.scalar(
        select(func.max(at)).where(*delivery_jobs, or_(has_sent, is_complete))
    )
    after = () if last_success is None else (at > last_success,)
    since = session.scalar(select(func.min(at)).where(*delivery_jobs, *after))
    return since is not None and wall < last.created_at + (wall - since) / 10


def _job_conditions(kind: str, campaign_id: str) -> tuple[ColumnElement[bool], ...]:
    return Job.kind == kind, Job.args["campaign_id"].as_string() == campaign_id


def _due_campaigns(
    session: Session,
    settings: Settings,
    states: tuple[str, ...],
    column: InstrumentedAttribute[datetime | None],
    now: datetime,
    *further: ColumnElement[bool],
) -> list[Campaign]:
    """Campaigns in these states with a column in the past, oldest first."""
    conditions = (
        Campaign.team_id == settings.team_id,
        Campaign.state.in_(states),
        column <= now,
        *further,
    )
    return list(session.scalars(select(Campaign).where(*conditions).order_by(column)))


def _due_job(campaign: Campaign, kind: str, idem_key: str, **args: Any) -> DueJob:
    return DueJob(
        kind,
        {"campaign_id": campaign.id, **args},
        idem_key,
        campaign.decided_by or campaign.drafted_by,
        campaign.channel,
        campaign.post_key,
        tuple(campaign.approved_by),
    )
