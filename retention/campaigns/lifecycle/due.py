"""Find the jobs that campaigns have due.

Reminders, expiry, end of clearance, sending and measuring. SQL only.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from retention import clock
from retention.campaigns.codes import shop_code_queue
from retention.campaigns.lifecycle.states import IN_CLEARANCE
from retention.db import Transaction
from retention.db.tables import Campaign, Job
from retention.outreach import sends

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


def due_jobs(session: Transaction, now: datetime) -> list[DueJob]:
    """Return the jobs due at a moment. Idempotency keys make repeated calls harmless."""
    # A campaign in ``sending`` has this job already, unless it failed.
    jobs = [
        _due_job(campaign, "campaign_send", f"{campaign.version}", version=campaign.version)
        for campaign in _due_campaigns(session, ("scheduled", "sending"), Campaign.send_at, now)
    ]
    over = _due_campaigns(session, ("live", "measuring"), Campaign.window_ends_at, now)
    # Campaigns stopped while live are measured, too.
    over += _due_campaigns(
        session, ("cancelled",), Campaign.window_ends_at, now, Campaign.result.is_(None)
    )
    # Once a day, until the orders of the window are imported (`is_waiting_for_orders`).
    jobs += [
        _due_job(campaign, "campaign_measure", f"{now:%Y%m%d}")
        for campaign in over
        if not _has_open_job(session, "campaign_measure", campaign.id)
    ]
    is_undecided = Campaign.test_result.is_(None)
    jobs += [
        _due_job(campaign, "campaign_decide", f"{now:%Y%m%d}")
        for campaign in _due_campaigns(session, ("live",), Campaign.test_ends_at, now, is_undecided)
        if not _has_open_job(session, "campaign_decide", campaign.id)
    ]
    # Once a minute, and at each stop of the time machine within a minute.
    minute = f"{clock.wall():%Y%m%d%H%M}:{now:%Y%m%d%H%M}"
    jobs += [
        _due_job(campaign, "shop_codes", minute)
        for campaign in shop_code_queue.due_campaigns(session, now)
        if not _has_open_job(session, "shop_codes", campaign.id)
    ]
    offset = (now - clock.wall()).total_seconds()
    return jobs + [
        _due_job(campaign, "campaign_deliver", minute, clock_offset=offset)
        for campaign in sends.due_campaigns(session, session.settings.team_id, now)
        if not _has_open_job(session, "campaign_deliver", campaign.id)
        and not _is_pausing(session, campaign)
    ]


def cleared_campaigns(session: Transaction, now: datetime) -> list[str]:
    """Return approved campaigns after their clearance time."""
    due = _due_campaigns(session, ("approved",), Campaign.clears_at, now)
    return [campaign.id for campaign in due]


def campaigns_to_remind(session: Transaction, now: datetime) -> list[str]:
    """Return submitted campaigns with a reminder due."""
    not_expired = Campaign.expires_at > now
    due = _due_campaigns(session, ("submitted",), Campaign.remind_at, now, not_expired)
    return [campaign.id for campaign in due]


def expired_campaigns(session: Transaction, now: datetime) -> list[str]:
    """Return campaigns whose time for a decision or for sending is over."""
    states = ("submitted", *IN_CLEARANCE)
    return [campaign.id for campaign in _due_campaigns(session, states, Campaign.expires_at, now)]


def failed_sendings(session: Transaction, now: datetime) -> list[str]:
    """Return campaigns with failed sending and an expired approval."""
    overdue = _due_campaigns(session, ("sending",), Campaign.expires_at, now)
    kind = "campaign_send"
    return [campaign.id for campaign in overdue if not _has_open_job(session, kind, campaign.id)]


def next_moment(session: Transaction, after: datetime) -> datetime | None:
    """Return the next moment with something due."""
    columns: tuple[tuple[tuple[str, ...], InstrumentedAttribute[datetime | None]], ...] = (
        (("submitted",), Campaign.remind_at),
        (("submitted", *IN_CLEARANCE, "sending"), Campaign.expires_at),
        (("approved",), Campaign.clears_at),
        (IN_CLEARANCE, Campaign.send_at),
        (("live", "cancelled"), Campaign.window_ends_at),
        (("live",), Campaign.test_ends_at),
    )
    in_team, ahead = Campaign.team_id == session.settings.team_id, []
    for states, column in columns:
        later = select(func.min(column)).where(in_team, Campaign.state.in_(states), column > after)
        if at := session.scalar(later):
            ahead.append(at)
    if quiet_ends := sends.next_quiet_hours_end(session, session.settings.team_id, after):
        ahead.append(quiet_ends)
    return min(ahead, default=None)


def _has_open_job(session: Transaction, kind: str, campaign_id: str) -> bool:
    """Whether a job of this kind is queued or running."""
    job = select(Job.id).where(
        Job.state.in_(("queued", "running")), *_job_conditions(kind, campaign_id)
    )
    return session.scalar(job.limit(1)) is not None


def last_attempt_failed(session: Transaction, campaign: Campaign) -> bool:
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


def _is_pausing(session: Transaction, campaign: Campaign) -> bool:
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
    session: Transaction,
    states: tuple[str, ...],
    column: InstrumentedAttribute[datetime | None],
    now: datetime,
    *further: ColumnElement[bool],
) -> list[Campaign]:
    """Campaigns in these states with a column in the past, oldest first."""
    conditions = (
        Campaign.team_id == session.settings.team_id,
        Campaign.state.in_(states),
        column <= now,
        *further,
    )
    return list(session.scalars(select(Campaign).where(*conditions).order_by(column)))


def _due_job(campaign: Campaign, kind: str, once: str, **args: Any) -> DueJob:
    return DueJob(
        kind,
        {"campaign_id": campaign.id, **args},
        f"{kind.removeprefix('campaign_')}:{campaign.id}:{once}",
        campaign.decided_by or campaign.drafted_by,
        campaign.channel,
        campaign.post_key,
        tuple(campaign.approved_by),
    )
