"""Decide about campaigns before they are sent, and stop them.

Decisions before sending: submit, approve, reject, edit, schedule, remind, expire. Stopping is
possible until the measurement. SQL only. Each function checks the step and writes state, audit row
and groups. Slack, terminal and clock call the same ones: they check roles before, and post messages
after.
"""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import func

from retention.campaigns.codes import coupons, shop_code_queue
from retention.campaigns.learning.chances import with_chances
from retention.campaigns.lifecycle import edits, states
from retention.campaigns.lifecycle.copy_test import Variant, draw_variants
from retention.campaigns.lifecycle.edits import Changes
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import Step, Transition, find_campaign, move_campaign
from retention.campaigns.lifecycle.versions import NO_DECISION, NextVersion, write_version
from retention.campaigns.message.text_message import with_parts
from retention.campaigns.planning.assignment import assign, require_recipients, reset_groups
from retention.campaigns.planning.offer_terms import sampled_offers, set_offer
from retention.db import Transaction
from retention.db.engine import advisory_lock
from retention.db.tables import Approval, Assignment, Campaign, CampaignEditor
from retention.errors import BadInput, Conflict, FieldErrors, NotAllowed
from retention.logs import mask
from retention.outreach import sends
from retention.outreach.dispatch import sending_channel
from retention.text import gettext


def submit(session: Transaction, step: Step, channel: str | None = None) -> Campaign:
    """Submit a draft for approval.

    `channel`: of its messages, unless it has one.
    """
    body = Body.of(find_campaign(session, step.campaign_id))
    body.check_offers()
    body.check_budget()
    if body.test is not None and sending_channel(session.settings, body.message_channel) == "csv":
        problem = gettext(
            "A test of variants needs messages that the desk sends itself, and it has no mail "
            "server. Remove the test, or ask whoever runs the desk to set RETENTION_SMTP_URL."
        )
        raise BadInput(problem)
    if body.send_on is not None:
        zone = session.settings.zone
        typed = f"{body.send_on.astimezone(zone):{edits.MINUTE_FORMAT}}"
        edits.require_soon_enough(body.send_on, typed, zone, step.at)
    expires_at = step.at + timedelta(hours=body.approval_expires_hours)
    return move_campaign(
        session,
        step,
        states.SUBMIT,
        channel=func.coalesce(Campaign.channel, channel),
        submitted_by=step.actor,
        submitted_at=step.at,
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


def approve(session: Transaction, step: Step, call_owner: str | None = None) -> ApprovalResult:
    """Approve a version of a campaign.

    The last required approval assigns the groups and starts the clearance time. Of concurrent
    approvals, only the required number succeeds.

    `call_owner`: who makes the campaign's calls. By default the choice of an earlier approval, else
    the approver.
    """
    before = find_campaign(session, step.campaign_id, lock=True)
    if before.state == "submitted" and step.version in (None, before.version):
        _require_may_approve(session, before, step)
    body = Body.of(before)
    approved_by = [*before.approved_by, step.actor]
    is_complete = len(approved_by) >= body.approvals_needed
    if is_complete:
        # Two concurrent approvals must not assign the same customer.
        advisory_lock(session, f"assign {session.settings.team_id}")
    has_calls = any(line.action == "call" for line in body.offers)
    campaign = move_campaign(
        session,
        step,
        states.APPROVE if is_complete else states.FIRST_APPROVAL,
        details={"approval": len(approved_by), "needed": body.approvals_needed},
        approved_by=approved_by,
        call_owner=(call_owner or before.call_owner or step.actor) if has_calls else None,
        **(_clearance_values(body, step) if is_complete else {}),
    )
    _store_decision(session, campaign, step, "approve")
    if not is_complete:
        return ApprovalResult(campaign, {})
    arms = assign(session, campaign, body.holdout)
    require_recipients(campaign, arms)
    if body.test is not None:
        draw_variants(session, campaign, body.test)
        for variant in body.test.variants:
            _set_discount(session, campaign.id, body, variant)
    return ApprovalResult(campaign, arms)


def reject(session: Transaction, step: Step, reason: str) -> Campaign:
    """Reject a version with a reason."""
    why = gettext("Say why you reject it; the reason is shown in its thread.")
    campaign = _end(session, step, states.REJECT, _require_reason(reason, why))
    _store_decision(session, campaign, step, "reject")
    return campaign


def stop(
    session: Transaction, step: Step, reason: str, from_states: Collection[str] = states.STOPPABLE
) -> Campaign:
    """Cancel a campaign of any version. Codes that are not redeemed become void."""
    why = gettext("Say why you stop it; the reason is shown in its thread.")
    transition = replace(states.STOP, from_states=from_states)
    any_version = replace(step, version=None)
    campaign = _end(session, any_version, transition, _require_reason(reason, why))
    coupons.void_codes(session, campaign.id)
    shop_code_queue.end_waits(session, campaign.id)
    sends.cancel(session, campaign.id, "campaign_stopped")
    return campaign


def _end(session: Transaction, step: Step, transition: Transition, reason: str) -> Campaign:
    return move_campaign(
        session,
        step,
        transition,
        decided_by=step.actor,
        decided_at=step.at,
        reason=reason,
        remind_at=None,
        details={"reason": mask(reason)},  # an erasure cannot reach the audit log
    )


def edit(session: Transaction, step: Step, changes: Changes) -> NextVersion:
    """Store the next version and reset all approvals.

    Raises `BadInput`: a value is not allowed; nothing is written. Errors of several fields come
    together.
    """
    before = find_campaign(session, step.campaign_id)
    old_body = Body.of(before)
    errors, body, name = FieldErrors(), old_body, before.name
    with errors.collect():
        changed = edits.apply_changes(
            old_body, changes, session.settings.zone, step.at, session.settings
        )
        if changes.offer:
            actions = {line.action for line in changed.offers}
            unmade = shop_code_queue.unmade_actions(session, actions)
            changed = changed.model_copy(update={"unmade": unmade})
        changed = with_chances(session, changed)
        body = with_parts(session.settings, changed, sampled_offers(session, before.id, changed))
    if changes.name is not None:
        with errors.collect():
            name = edits.normalize_name(changes.name)
    errors.raise_any()
    differing = [
        field for field in Body.model_fields if getattr(body, field) != getattr(old_body, field)
    ]
    differing += ["name"] if name != before.name else []
    written = write_version(session, step, before, name, body, {"changed": differing})
    reset_groups(session, before.id)
    had_discounts = old_body.test is not None and old_body.test.varies_discount
    for line, old in zip(body.offers, old_body.offers, strict=True):
        if line != old or had_discounts:
            set_offer(session, before.id, line)
    return written


def _set_discount(session: Transaction, campaign_id: str, body: Body, variant: Variant) -> None:
    """Give the customers of a variant its discount."""
    for line in body.coupons if variant.discount else ():
        changed = line.model_copy(update={"discount": variant.discount})
        set_offer(session, campaign_id, changed, Assignment.variant == variant.name)


def schedule(session: Transaction, campaign_id: str, now: datetime) -> Campaign:
    """Schedule a campaign after its clearance time."""
    step = Step(campaign_id, states.CLOCK, at=now)
    return move_campaign(session, step, states.SCHEDULE, Campaign.clears_at <= now)


def remind(session: Transaction, campaign_id: str, now: datetime) -> Campaign:
    """Record the reminder of the approvers; only once."""
    is_due = (Campaign.remind_at <= now, Campaign.expires_at > now)
    step = Step(campaign_id, states.CLOCK, at=now)
    return move_campaign(session, step, states.REMIND, *is_due, remind_at=None)


def expire(session: Transaction, campaign_id: str, now: datetime) -> Campaign:
    """Expire a campaign without a decision or sending in time."""
    undecided: dict[str, Any] = {
        "decided_by": None,
        "decided_at": now,
        "reason": None,
        "remind_at": None,
    }
    step = Step(campaign_id, states.CLOCK, at=now)
    campaign = move_campaign(session, step, states.EXPIRE, Campaign.expires_at <= now, **undecided)
    reset_groups(session, campaign_id)
    return campaign


def _store_decision(session: Transaction, campaign: Campaign, step: Step, decision: str) -> None:
    session.merge(  # the first of two approvers may still reject
        Approval(
            team_id=session.settings.team_id,
            campaign_id=campaign.id,
            version=campaign.version,
            user_id=step.actor,
            decision=decision,
            reason=campaign.reason if decision == "reject" else None,
            at=step.at,
        )
    )


def _clearance_values(body: Body, step: Step) -> dict[str, Any]:
    """Column values that the last approval sets."""
    clears_at = step.at + timedelta(hours=body.clearance_hours)
    send_at = max(clears_at, body.send_on or clears_at)
    return {
        "decided_by": step.actor,
        "decided_at": step.at,
        "reason": None,
        "remind_at": None,
        "clears_at": clears_at,
        "send_at": send_at,
        "expires_at": send_at + timedelta(hours=body.approval_expires_hours),
    }


def _require_may_approve(session: Transaction, campaign: Campaign, step: Step) -> None:
    """Reject a second approval, an author's, and one that is too late. The row must be locked."""
    names = {"version": campaign.version, "name": campaign.name}
    if step.actor in campaign.approved_by:
        text = gettext(
            "You approved version {version} of campaign {name!r} already; somebody else "
            "has to as well."
        )
        raise Conflict(text.format(**names))
    if session.get(CampaignEditor, (campaign.id, step.actor)):
        text = gettext(
            "You drafted or edited version {version} of campaign {name!r}; somebody else "
            "has to approve it."
        )
        raise NotAllowed(text.format(**names))
    if campaign.expires_at is not None and campaign.expires_at <= step.at:
        text = gettext("The time to decide on campaign {name!r} is over; edit and submit it again.")
        raise BadInput(text.format(**names))


def _require_reason(reason: str, why: str) -> str:
    if not reason.strip():
        raise BadInput(why, field="reason")
    return reason.strip()[:500]
