"""Decide about campaigns before they are sent, and stop them.

Decisions before sending: submit, approve, reject, edit, schedule, remind, expire. Stopping is
possible until the measurement. SQL only. The caller checks roles. The approving UPDATE checks that
the approver did not write the version.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from retention.campaigns import coupons, shop_codes
from retention.campaigns.assignment import assign, require_recipients, reset_groups
from retention.campaigns.edits import (
    MINUTE_FORMAT,
    Changes,
    apply_changes,
    normalize_name,
    require_soon_enough,
)
from retention.campaigns.offers import sampled_offers, set_offer
from retention.campaigns.spec import Body
from retention.campaigns.states import (
    CLOCK,
    IN_CLEARANCE,
    STOPPABLE,
    StaleCampaign,
    find_campaign,
    move_campaign,
)
from retention.campaigns.text_message import with_parts
from retention.campaigns.versions import NO_DECISION, NextVersion, write_version
from retention.db.engine import advisory_lock
from retention.db.tables import Approval, Campaign, CampaignEditor
from retention.errors import BadInput, Conflict, FieldErrors, NotAllowed
from retention.outreach import sends
from retention.settings import Settings
from retention.text import gettext


def submit(
    session: Session, settings: Settings, campaign_id: str, version: int, user: str, now: datetime
) -> Campaign:
    """Submit a draft for approval.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    version : int
        Version that the person saw.
    user : str
        Slack user id.
    now : datetime
        Business time.

    Returns
    -------
    Campaign

    Raises
    ------
    BadInput
        An offer, the budget or the send time breaks the policy.
    """
    body = Body.model_validate(find_campaign(session, settings, campaign_id).body)
    body.check_offers()
    body.check_budget()
    if body.send_on is not None:
        require_soon_enough(
            body.send_on,
            f"{body.send_on.astimezone(settings.zone):{MINUTE_FORMAT}}",
            settings.zone,
            now,
        )
    expires_at = now + timedelta(hours=body.approval_expires_hours)
    return move_campaign(
        session,
        settings,
        campaign_id,
        from_states=("draft",),
        to_state="submitted",
        seen_version=version,
        actor=user,
        action="campaign.submit",
        at=now,
        submitted_by=user,
        submitted_at=now,
        expires_at=expires_at,
        remind_at=expires_at - timedelta(hours=body.remind_hours) if body.remind_hours else None,
        **NO_DECISION,
    )


class ApprovalResult(NamedTuple):
    """An approved campaign and its group sizes.

    ``arms`` is empty while another approval is missing.
    """

    campaign: Campaign
    arms: dict[str, int]


def approve(
    session: Session, settings: Settings, campaign_id: str, version: int, user: str, now: datetime
) -> ApprovalResult:
    """Approve a version of a campaign.

    The last required approval assigns the groups and starts the clearance time. Of concurrent
    approvals, only the required number succeeds.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    version : int
        Version that the person saw.
    user : str
        Slack user id.
    now : datetime
        Business time.

    Returns
    -------
    ApprovalResult

    Raises
    ------
    NotAllowed
        The person drafted or edited this version.
    Conflict
        The person already approved it, or it would have no recipients.
    StaleCampaign
        The version changed or is not waiting for approval.
    """
    before = find_campaign(session, settings, campaign_id, lock=True)
    if before.state == "submitted" and before.version == version and user in before.approved_by:
        raise Conflict(
            gettext(
                "You approved version {version} of campaign {name!r} already; somebody else "
                "has to as well."
            ).format(version=version, name=before.name)
        )
    body = Body.model_validate(before.body)
    approved_by = [*before.approved_by, user]
    is_complete = len(approved_by) >= body.approvals_needed
    if is_complete:
        # Two concurrent approvals must not assign the same customer.
        advisory_lock(session, f"assign {settings.team_id}")
    is_editor = exists().where(
        CampaignEditor.campaign_id == Campaign.id, CampaignEditor.user_id == user
    )
    try:
        campaign = move_campaign(
            session,
            settings,
            campaign_id,
            from_states=("submitted",),
            to_state="approved" if is_complete else "submitted",
            seen_version=version,
            actor=user,
            action="campaign.approve",
            at=now,
            conditions=(~is_editor, Campaign.expires_at > now),
            details={"approval": len(approved_by), "needed": body.approvals_needed},
            approved_by=approved_by,
            **(_clearance_values(body, user, now) if is_complete else {}),
        )
    except StaleCampaign as stale:
        raise _explain_refusal(
            session, find_campaign(session, settings, campaign_id), stale, version, user, now
        ) from None
    _store_decision(session, settings, campaign, user, "approve", None, now)
    arms = assign(session, campaign, body.holdout) if is_complete else {}
    if is_complete:
        require_recipients(campaign, arms)
    return ApprovalResult(campaign, arms)


def reject(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    user: str,
    reason: str,
    now: datetime,
) -> Campaign:
    """Reject a version with a reason.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    version : int
        Version that the person saw.
    user : str
        Slack user id.
    reason : str
        Reason that the person typed.
    now : datetime
        Business time.

    Returns
    -------
    Campaign

    Raises
    ------
    StaleCampaign
        The version changed or is not waiting for approval.
    """
    reason = _require_reason(reason, "reject")
    campaign = move_campaign(
        session,
        settings,
        campaign_id,
        from_states=("submitted",),
        to_state="rejected",
        seen_version=version,
        actor=user,
        action="campaign.reject",
        at=now,
        decided_by=user,
        decided_at=now,
        reason=reason,
        remind_at=None,
        details={"reason": reason},
    )
    _store_decision(session, settings, campaign, user, "reject", reason, now)
    return campaign


def stop(
    session: Session,
    settings: Settings,
    campaign_id: str,
    user: str,
    reason: str,
    now: datetime,
    from_states: Collection[str] = STOPPABLE,
) -> Campaign:
    """Cancel a campaign before its measurement.

    Codes that are not redeemed become void.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    user : str
        Slack user id.
    reason : str
        Reason that the person typed.
    now : datetime
        Business time.
    from_states : collection of str, optional
        States in which this person may stop it.

    Returns
    -------
    Campaign

    Raises
    ------
    StaleCampaign
        The campaign is in another state.
    """
    reason = _require_reason(reason, "stop")
    campaign = move_campaign(
        session,
        settings,
        campaign_id,
        from_states=from_states,
        to_state="cancelled",
        actor=user,
        action="campaign.stop",
        at=now,
        decided_by=user,
        decided_at=now,
        reason=reason,
        remind_at=None,
        details={"reason": reason},
    )
    coupons.void_codes(session, campaign_id)
    shop_codes.end_waits(session, campaign_id)
    sends.cancel(session, campaign_id, "campaign_stopped")
    return campaign


def edit(
    session: Session,
    settings: Settings,
    campaign_id: str,
    version: int,
    user: str,
    changes: Changes,
    now: datetime,
) -> NextVersion:
    """Store the next version and reset all approvals.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    version : int
        Version that the person saw.
    user : str
        Slack user id.
    changes : Changes
        Values to change.
    now : datetime
        Business time.

    Returns
    -------
    NextVersion

    Raises
    ------
    BadInput
        A value is not allowed; nothing is written. Errors of several fields come together.
    StaleCampaign
        The version changed, or the campaign is already sent.
    """
    before = find_campaign(session, settings, campaign_id)
    old_body = Body.model_validate(before.body)
    errors, body, name = FieldErrors(), old_body, before.name
    with errors.collect():
        changed = apply_changes(old_body, changes, settings.zone, now, settings)
        body = with_parts(settings, changed, sampled_offers(session, campaign_id, changed))
    if changes.name is not None:
        with errors.collect():
            name = normalize_name(changes.name)
    errors.raise_any()
    differing = [
        field for field in Body.model_fields if getattr(body, field) != getattr(old_body, field)
    ]
    differing += ["name"] if name != before.name else []
    written = write_version(
        session,
        settings,
        before,
        version,
        user,
        now,
        name=name,
        body=body,
        details={"changed": differing},
    )
    reset_groups(session, campaign_id)
    for line, old in zip(body.offers, old_body.offers, strict=True):
        if line != old:
            set_offer(session, campaign_id, line)
    return written


def schedule(session: Session, settings: Settings, campaign_id: str, now: datetime) -> Campaign:
    """Schedule a campaign after its clearance time.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    now : datetime
        Business time.

    Returns
    -------
    Campaign

    Raises
    ------
    StaleCampaign
        It was stopped, or the clearance time is still running.
    """
    return move_campaign(
        session,
        settings,
        campaign_id,
        from_states=("approved",),
        to_state="scheduled",
        actor=CLOCK,
        action="campaign.schedule",
        at=now,
        conditions=(Campaign.clears_at <= now,),
    )


def remind(session: Session, settings: Settings, campaign_id: str, now: datetime) -> Campaign:
    """Record the reminder of the approvers; only once.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    now : datetime
        Business time.

    Returns
    -------
    Campaign

    Raises
    ------
    StaleCampaign
        It is decided, expired or already reminded.
    """
    return move_campaign(
        session,
        settings,
        campaign_id,
        from_states=("submitted",),
        to_state="submitted",
        actor=CLOCK,
        action="campaign.remind",
        at=now,
        conditions=(Campaign.remind_at <= now, Campaign.expires_at > now),
        remind_at=None,
    )


def expire(session: Session, settings: Settings, campaign_id: str, now: datetime) -> Campaign:
    """Expire a campaign without a decision or sending in time.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    now : datetime
        Business time.

    Returns
    -------
    Campaign

    Raises
    ------
    StaleCampaign
        It was decided or sent.
    """
    campaign = move_campaign(
        session,
        settings,
        campaign_id,
        from_states=("submitted", *IN_CLEARANCE),
        to_state="expired",
        actor=CLOCK,
        action="campaign.expire",
        at=now,
        conditions=(Campaign.expires_at <= now,),
        decided_by=None,
        decided_at=now,
        reason=None,
        remind_at=None,
    )
    reset_groups(session, campaign_id)
    return campaign


def _store_decision(
    session: Session,
    settings: Settings,
    campaign: Campaign,
    user: str,
    decision: str,
    reason: str | None,
    now: datetime,
) -> None:
    session.merge(  # the first of two approvers may still reject
        Approval(
            team_id=settings.team_id,
            campaign_id=campaign.id,
            version=campaign.version,
            user_id=user,
            decision=decision,
            reason=reason,
            at=now,
        )
    )


def _clearance_values(body: Body, user: str, now: datetime) -> dict[str, Any]:
    """Column values that the last approval sets."""
    clears_at = now + timedelta(hours=body.clearance_hours)
    send_at = max(clears_at, body.send_on or clears_at)
    return {
        "decided_by": user,
        "decided_at": now,
        "reason": None,
        "remind_at": None,
        "clears_at": clears_at,
        "send_at": send_at,
        "expires_at": send_at + timedelta(hours=body.approval_expires_hours),
    }


def _explain_refusal(
    session: Session,
    campaign: Campaign,
    stale: StaleCampaign,
    version: int,
    user: str,
    now: datetime,
) -> Exception:
    """Explain why an approving UPDATE changed no row."""
    if campaign.state == "submitted" and campaign.version == version:
        if session.scalar(
            select(CampaignEditor).where(
                CampaignEditor.campaign_id == campaign.id, CampaignEditor.user_id == user
            )
        ):
            return NotAllowed(
                gettext(
                    "You drafted or edited version {version} of campaign {name!r}; somebody else "
                    "has to approve it."
                ).format(version=version, name=campaign.name)
            )
        if campaign.expires_at is not None and campaign.expires_at <= now:
            return BadInput(
                gettext(
                    "The time to decide on campaign {name!r} is over; edit and submit it again."
                ).format(name=campaign.name)
            )
    return stale


def _require_reason(reason: str, deed: str) -> str:
    reason = reason.strip()
    if not reason:
        raise BadInput(
            gettext("Say why you reject it; the reason is shown in its thread.")
            if deed == "reject"
            else gettext("Say why you stop it; the reason is shown in its thread."),
            field="reason",
        )
    return reason[:500]
