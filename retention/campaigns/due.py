"""What campaigns have due: going live after the clearance time, sending copies, measuring, expiry. SQL only."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention import clock
from retention.db.tables import Campaign, Job
from retention.outreach import sends
from retention.settings import Settings


@dataclass(frozen=True, slots=True)
class Due:
    """A job that a campaign's time has come for: its kind and arguments, and on whose behalf it runs."""

    kind: str
    args: dict[str, Any]
    idem_key: str
    requested_by: str
    channel: str | None
    thread_key: str


def due(session: Session, settings: Settings, now: datetime) -> list[Due]:
    """Jobs due at ``now``; their idempotency keys make asking twice harmless."""
    ours = Campaign.team_id == settings.team_id
    to_send = session.scalars(
        select(Campaign)
        .where(ours, Campaign.state == "approved", Campaign.send_at <= now)
        .order_by(Campaign.send_at)
    )
    found = [
        _job(campaign, "campaign_send", f"send:{campaign.id}:{campaign.version}", version=campaign.version)
        for campaign in to_send
    ]
    to_measure = session.scalars(
        select(Campaign)
        .where(ours, Campaign.state == "live", Campaign.window_ends_at <= now)
        .order_by(Campaign.window_ends_at)
    )
    found += [_job(campaign, "campaign_measure", f"measure:{campaign.id}") for campaign in to_measure]
    minute = f"{clock.wall():%Y%m%d%H%M}"
    return found + [
        _job(campaign, "campaign_deliver", f"deliver:{campaign.id}:{minute}")
        for campaign in sends.due_campaigns(session, settings.team_id, now)
        if not _under_way(session, campaign.id)
    ]


def expired(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Ids of the submitted campaigns on which nobody decided in time."""
    return list(
        session.scalars(
            select(Campaign.id)
            .where(
                Campaign.team_id == settings.team_id,
                Campaign.state == "submitted",
                Campaign.expires_at <= now,
            )
            .order_by(Campaign.expires_at)
        )
    )


def next_moment(session: Session, settings: Settings, after: datetime) -> datetime | None:
    """The first moment later than ``after`` at which a campaign has something due."""
    columns = (
        ("submitted", Campaign.expires_at),
        ("approved", Campaign.send_at),
        ("live", Campaign.window_ends_at),
    )
    ahead = [
        at
        for state, column in columns
        for at in session.scalars(
            select(column)
            .where(Campaign.team_id == settings.team_id, Campaign.state == state, column > after)
            .order_by(column)
            .limit(1)
        )
        if at is not None
    ]
    if quiet_ends := sends.next_moment(session, settings.team_id, after):
        ahead.append(quiet_ends)
    return min(ahead, default=None)


def _under_way(session: Session, campaign_id: str) -> bool:
    """Whether a job is sending this campaign's copies, or is about to."""
    job = select(Job.id).where(
        Job.kind == "campaign_deliver", Job.state.in_(("queued", "running")),
        Job.args["campaign_id"].as_string() == campaign_id,
    )  # fmt: skip
    return session.scalar(job.limit(1)) is not None


def _job(campaign: Campaign, kind: str, idem_key: str, **more: Any) -> Due:
    return Due(
        kind,
        {"campaign_id": campaign.id, **more},
        idem_key,
        campaign.decided_by or campaign.drafted_by,
        campaign.channel,
        campaign.post_key,
    )
