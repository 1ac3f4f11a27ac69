"""Submit, approve, reject, stop, edit, expire: what people (and time) do to a campaign. SQL only, in the caller's session.

Roles are the caller's to check; who wrote a version is checked here, inside the approving UPDATE itself.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from retention.campaigns import coupons, wording
from retention.campaigns.assignment import assign, set_discount, unassign
from retention.campaigns.body import Body
from retention.campaigns.states import EDITABLE, STOPPABLE, Stale, find, move
from retention.db.insert import insert_once
from retention.db.tables import Approval, Campaign, CampaignEditor, CampaignVersion
from retention.errors import BadInput, NotAllowed
from retention.outreach import sends
from retention.risk.policy import HOLDOUT
from retention.settings import Settings


@dataclass(frozen=True, slots=True)
class Changes:
    """What an edit changes; None leaves a thing as it is. Shares are 0 … 1."""

    name: str | None = None
    discount: float | None = None
    holdout: float | None = None
    expires_days: int | None = None
    copy_text: str | None = None


def submit(
    session: Session, settings: Settings, campaign_id: str, version: int, user: str, now: datetime
) -> Campaign:
    """Hand a draft to the approvers; it expires undecided after the policy's time."""
    body = Body.model_validate(find(session, settings, campaign_id).body)
    body.check_offers()
    body.check_budget()
    return move(
        session, settings, campaign_id, frm=("draft",), to="submitted", seen=version, actor=user,
        action="campaign.submit", at=now, submitted_by=user, submitted_at=now, decided_by=None, decided_at=None,
        reason=None, expires_at=now + timedelta(hours=body.approval_expires_hours),
    )  # fmt: skip


def approve(
    session: Session, settings: Settings, campaign_id: str, version: int, user: str, now: datetime
) -> Campaign:
    """Approve a version, decide every arm, and start the clearance time. One of two at once wins.

    Raises
    ------
    NotAllowed
        The person drafted or edited it.
    Stale
        It is not that version, or no longer waiting for approval.
    """
    body = Body.model_validate(find(session, settings, campaign_id).body)
    wrote = exists().where(CampaignEditor.campaign_id == Campaign.id, CampaignEditor.user_id == user)
    try:
        campaign = move(
            session, settings, campaign_id, frm=("submitted",), to="approved", seen=version, actor=user,
            action="campaign.approve", at=now, where=(~wrote, Campaign.expires_at > now), decided_by=user,
            decided_at=now, reason=None, send_at=now + timedelta(hours=body.clearance_hours),
        )  # fmt: skip
    except Stale as stale:
        raise _why_not(session, find(session, settings, campaign_id), stale, version, user, now) from None
    _decide(session, settings, campaign, user, "approve", None, now)
    assign(session, campaign, body.holdout)
    return campaign


def reject(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    user: str,
    reason: str,
    now: datetime,
) -> Campaign:
    """Say no to a version, and why."""
    reason = _reason(reason, "reject")
    campaign = move(
        session, settings, campaign_id, frm=("submitted",), to="rejected", seen=version, actor=user,
        action="campaign.reject", at=now, decided_by=user, decided_at=now, reason=reason, details={"reason": reason},
    )  # fmt: skip
    _decide(session, settings, campaign, user, "reject", reason, now)
    return campaign


def stop(
    session: Session, settings: Settings, campaign_id: str, user: str, reason: str, now: datetime
) -> Campaign:
    """Stop a campaign at any time before its measurement; codes that are not redeemed become worthless."""
    reason = _reason(reason, "stop")
    campaign = move(
        session, settings, campaign_id, frm=STOPPABLE, to="stopped", actor=user, action="campaign.stop", at=now,
        decided_by=user, decided_at=now, reason=reason, details={"reason": reason},
    )  # fmt: skip
    coupons.void(session, campaign_id)
    sends.cancel(session, campaign_id, "the campaign was stopped")
    return campaign


def edit(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    user: str,
    changes: Changes,
    now: datetime,
) -> Campaign:
    """Write the next version; whatever was submitted, approved or rejected before is reset.

    Raises
    ------
    BadInput
        A value that cannot be used; nothing is written.
    Stale
        Another version, or already sent.
    """
    before = find(session, settings, campaign_id)
    body = changed(Body.model_validate(before.body), changes)
    name = _name(changes.name) if changes.name is not None else before.name
    stored = body.model_dump(mode="json")
    campaign = move(
        session, settings, campaign_id, frm=EDITABLE, to="draft", seen=version, actor=user, action="campaign.edit",
        at=now, name=name, body=stored, submitted_by=None, submitted_at=None, decided_by=None, decided_at=None,
        reason=None, expires_at=None, send_at=None, version=Campaign.version + 1,
    )  # fmt: skip
    session.add(
        CampaignVersion(
            team_id=settings.team_id, campaign_id=campaign_id, version=campaign.version, body=stored,
            edited_by=user, edited_at=now,
        )
    )  # fmt: skip
    insert_once(session, CampaignEditor, team_id=settings.team_id, campaign_id=campaign_id, user_id=user)
    unassign(session, campaign_id)
    if changes.discount is not None:
        set_discount(session, campaign_id, changes.discount)
    return campaign


def expire(session: Session, settings: Settings, campaign_id: str, now: datetime) -> Campaign:
    """Close the decision on a campaign that nobody took in time."""
    return move(
        session, settings, campaign_id, frm=("submitted",), to="expired", actor="clock", action="campaign.expire",
        at=now, where=(Campaign.expires_at <= now,), decided_at=now,
    )  # fmt: skip


def changed(body: Body, changes: Changes) -> Body:
    """The body with the changes in it, checked.

    Raises
    ------
    BadInput
    """
    update: dict[str, object] = {}
    if changes.discount is not None and changes.discount != body.discount:
        if not body.coupons:
            raise BadInput("No part of this campaign carries a coupon, so there is no discount to change.")
        if not 0 < changes.discount < 1:
            raise BadInput(f"A discount of {100 * changes.discount:g} % is none; use 1 to 99.")
        update["offers"] = tuple(
            line.model_copy(update={"discount": changes.discount}) if line.action == "coupon" else line
            for line in body.offers
        )
    if changes.holdout is not None:
        low, high = HOLDOUT
        if not low <= changes.holdout <= high:
            raise BadInput(
                f"A hold-out of {100 * changes.holdout:g} % is outside the policy; use {100 * low:g} to {100 * high:g}."
            )
        update["holdout"] = changes.holdout
    if changes.expires_days is not None:
        if not 1 <= changes.expires_days <= 365:
            raise BadInput(f"Codes cannot expire after {changes.expires_days} days; use 1 to 365.")
        update["expires_days"] = changes.expires_days
    if changes.copy_text is not None:
        update["copy_text"] = wording.checked(changes.copy_text)
    made = body.model_copy(update=update)
    made.check_offers()
    return made


def _decide(
    session: Session,
    settings: Settings,
    campaign: Campaign,
    user: str,
    decision: str,
    reason: str | None,
    now: datetime,
) -> None:
    session.add(
        Approval(
            team_id=settings.team_id, campaign_id=campaign.id, version=campaign.version, user_id=user,
            decision=decision, reason=reason, at=now,
        )
    )  # fmt: skip


def _why_not(
    session: Session, campaign: Campaign, stale: Stale, version: int, user: str, now: datetime
) -> Exception:
    """Why an approving UPDATE found no row."""
    if campaign.state == "submitted" and campaign.version == version:
        if session.scalar(
            select(CampaignEditor).where(
                CampaignEditor.campaign_id == campaign.id, CampaignEditor.user_id == user
            )
        ):
            return NotAllowed(
                f"You drafted or edited version {version} of campaign {campaign.name!r}; somebody else has to approve it."
            )
        if campaign.expires_at is not None and campaign.expires_at <= now:
            return BadInput(
                f"The time to decide on campaign {campaign.name!r} is over; edit and submit it again."
            )
    return stale


def _reason(reason: str, deed: str) -> str:
    reason = reason.strip()
    if not reason:
        raise BadInput(f"Say why you {deed} it; the reason is shown in its thread.")
    return reason[:500]


def _name(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= 80:
        raise BadInput(f"A campaign's name has 1 to 80 characters; this one has {len(name)}.")
    return name
