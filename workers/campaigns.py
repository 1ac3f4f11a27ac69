"""What people and time do to campaigns, and what Slack then shows: roles checked, the move, the message, its thread.

Every function works in the caller's session: the move, its audit row and the messages are one transaction.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from retention import clock
from retention.campaigns import approval, due
from retention.campaigns.approval import Changes
from retention.campaigns.states import Stale, find
from retention.campaigns.view import described
from retention.db.tables import Campaign
from retention.errors import NotAllowed
from retention.settings import Settings
from workers import roles
from workers.delivery import outbox
from workers.requests import REQUESTS, Request
from workers.tasks.contract import Post


def submit(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    user: str,
    channel: str | None = None,
) -> Campaign:
    """Submit a draft. One that was drafted in the terminal gets the channel it is submitted in."""
    roles.require(session, settings, user, "analyst", "submit a campaign")
    campaign = approval.submit(session, settings, campaign_id, version, user, clock.now())
    if campaign.channel is None and channel is not None:
        campaign.channel = channel
        session.flush()
    return _shown(session, settings, campaign, "submitted", user)


def approve(session: Session, settings: Settings, campaign_id: str, version: int, user: str) -> Campaign:
    """Approve a version that others wrote; the clearance time begins."""
    if user == roles.OPERATOR:
        raise NotAllowed(
            "The terminal's operator cannot approve; somebody with the role approver has to, by name."
        )
    roles.require(session, settings, user, "approver", "approve a campaign")
    campaign = approval.approve(session, settings, campaign_id, version, user, clock.now())
    return _shown(session, settings, campaign, "approved", user)


def reject(
    session: Session, settings: Settings, campaign_id: str, version: int, user: str, reason: str
) -> Campaign:
    """Reject a version, with a reason."""
    roles.require(session, settings, user, "approver", "reject a campaign")
    campaign = approval.reject(session, settings, campaign_id, version, user, reason, clock.now())
    return _shown(session, settings, campaign, "rejected", user)


def stop(session: Session, settings: Settings, campaign_id: str, user: str, reason: str) -> Campaign:
    """Stop a campaign, with a reason; its codes become worthless."""
    roles.require(session, settings, user, "approver", "stop a campaign")
    campaign = approval.stop(session, settings, campaign_id, user, reason, clock.now())
    return _shown(session, settings, campaign, "stopped", user)


def edit(
    session: Session, settings: Settings, campaign_id: str, version: int, user: str, changes: Changes
) -> Campaign:
    """Write the next version; it has to be submitted (again)."""
    roles.require(session, settings, user, "analyst", "edit a campaign")
    campaign = approval.edit(session, settings, campaign_id, version, user, changes, clock.now())
    return _shown(session, settings, campaign, "edited", user)


def expire(session: Session, settings: Settings, now: datetime) -> list[str]:
    """Expire what nobody decided on in time; returns the ids."""
    gone = []
    for campaign_id in due.expired(session, settings, now):
        try:
            campaign = approval.expire(session, settings, campaign_id, now)
        except Stale:  # decided at this very moment
            continue
        _shown(session, settings, campaign, "expired", "")
        gone.append(campaign_id)
    return gone


def requests(
    session: Session, settings: Settings, now: datetime
) -> list[tuple[Request, str, str, str | None, str]]:
    """The jobs due by now: (request, idempotency key, on whose behalf, channel, thread key).

    They run on behalf of who approved; where that person may no longer do so, the desk itself measures, and what was
    not sent yet is stopped.
    """
    found: list[tuple[Request, str, str, str | None, str]] = []
    for job in due.due(session, settings, now):
        behalf = job.requested_by
        if not roles.allows(roles.role_of(session, settings, behalf), "approver"):
            if job.kind == "campaign_send":
                _withdraw(session, settings, job.args["campaign_id"], behalf, now)
                continue
            behalf = roles.OPERATOR
        request = REQUESTS[job.kind].model_validate(job.args)
        found.append((request, job.idem_key, behalf, job.channel, job.thread_key))
    return found


def card(settings: Settings, campaign: Campaign) -> Post:
    """The campaign's one message, as it stands now, with the buttons that it still has."""
    return Post(
        "campaign/card", {"campaign": described(campaign), "demo": settings.demo}, key=campaign.post_key
    )


def line(settings: Settings, campaign: Campaign, what: str, who: str, **values: Any) -> Post:
    """A line in the campaign's thread."""
    return Post(
        "campaign/line",
        {"what": what, "who": who, "campaign": described(campaign), "at": clock.now(), **values},
        key=f"campaign:{campaign.id}:{what}:{campaign.version}",
        channel=campaign.channel,
        thread_key=campaign.post_key,
    )


def show(session: Session, settings: Settings, campaign_id: str) -> Campaign:
    """Make the campaign's message say how it stands, whatever it says now."""
    campaign = find(session, settings, campaign_id)
    outbox.put(session, settings, card(settings, campaign), default_channel=campaign.channel)
    return campaign


def _shown(session: Session, settings: Settings, campaign: Campaign, what: str, who: str) -> Campaign:
    for post in (card(settings, campaign), line(settings, campaign, what, who)):
        outbox.put(session, settings, post, default_channel=campaign.channel)
    return campaign


def _withdraw(session: Session, settings: Settings, campaign_id: str, approver: str, now: datetime) -> None:
    campaign = approval.stop(
        session, settings, campaign_id, "clock",
        f"{approver}, who approved it, may no longer approve campaigns.", now,
    )  # fmt: skip
    _shown(session, settings, campaign, "stopped", "clock")
