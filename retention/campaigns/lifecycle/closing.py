"""Close campaigns: live → measuring → closed, with or without a result.

A campaign stopped while live stays cancelled. It is still measured over its planned window, because
a window that ends at a chosen moment is biased.

Computes no effect (`measurement`) and voids no codes.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, exists, or_, select

from retention.campaigns.lifecycle import states
from retention.campaigns.lifecycle.states import StaleCampaign, Step, find_campaign, move_campaign
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import Campaign, Coupon, Send
from retention.errors import Conflict
from retention.outreach import sends
from retention.text import gettext

IMPORT_DELAY = timedelta(days=1)  # shops import a day's orders in the following night
MAX_SILENCE = timedelta(days=3)  # after the window without orders; there may be none
MAX_WAIT = timedelta(days=28)  # for orders, after the window
NO_ORDERS = "no_orders"  # advice of a campaign that was not measured


def begin_measurement(session: Transaction, step: Step) -> Campaign:
    """Start measuring once the window is over.

    A killed run is resumed.

    Raises `StaleCampaign`: the campaign was never live.
    """
    campaign = find_campaign(session, step.campaign_id)
    _require_measurable(campaign)
    if campaign.state in ("live", "cancelled"):
        _require_window_over(campaign, step.at)
    if campaign.state in ("measuring", "cancelled"):
        return campaign
    moved = move_campaign(session, step, states.MEASURE, Campaign.window_ends_at <= step.at)
    sends.cancel_unsent(session, campaign.id, "window_over")
    return moved


def close_campaign(session: Transaction, step: Step, result: dict[str, Any]) -> Campaign:
    """Store the result and close the campaign.

    A cancelled campaign gets its result and stays cancelled.

    `result`: of `measure` or `result_without_orders`.
    """
    measured = not was_never_measured(result)
    campaign = find_campaign(session, step.campaign_id)
    _require_measurable(campaign)
    if campaign.state == "cancelled":
        _require_window_over(campaign, step.at)
        campaign.result = result
        details = {"version": campaign.version, "to": "cancelled"}
        deed = "campaign.measured" if measured else "campaign.unmeasured"
        record(session, step.actor, deed, campaign.id, step.at, details)
        session.flush()
        return campaign
    transition = states.CLOSE if measured else states.CLOSE_UNMEASURED
    return move_campaign(session, step, transition, result=result)


def is_waiting_for_orders(campaign: Campaign, newest_order: datetime | None, now: datetime) -> bool:
    """Whether orders of the window are not imported yet.

    They are complete once an order is at or after the window's end. `MAX_SILENCE` later, an order
    at most `IMPORT_DELAY` before that end is enough.
    """
    window_end = campaign.window_ends_at
    assert window_end is not None
    required = window_end if now < window_end + MAX_SILENCE else window_end - IMPORT_DELAY
    return newest_order is None or newest_order < required


def has_waited_enough(campaign: Campaign, now: datetime) -> bool:
    """Whether the campaign waited long enough for orders."""
    assert campaign.window_ends_at is not None
    return now >= campaign.window_ends_at + MAX_WAIT


def result_without_orders(newest_order: datetime | None) -> dict[str, Any]:
    """Return the result of a campaign whose orders never arrived."""
    return {
        "advice": NO_ORDERS,
        "effects": {},
        "newest_order": newest_order.isoformat() if newest_order else None,
    }


def was_never_measured(result: dict[str, Any] | None) -> bool:
    """Whether a result belongs to a campaign without orders."""
    return result is not None and result.get("advice") == NO_ORDERS


def uninformative_campaigns(session: Transaction) -> set[str]:
    """Return campaigns whose outcomes must not be learned from.

    These are campaigns in state ``measuring`` or ``cancelled``, those closed without orders or with
    a sample-ratio mismatch, and those that queued sends but possibly delivered none. A redeemed
    code shows that messages were delivered another way.
    """
    is_unusable = Campaign.result["advice"].as_string().in_((NO_ORDERS, "unbelievable"))
    is_unfinished = Campaign.state.in_(("measuring", "cancelled"))
    uninformative = select(Campaign.id).where(
        Campaign.team_id == session.settings.team_id,
        or_(is_unfinished, is_unusable, _was_never_delivered()),
    )
    return set(session.scalars(uninformative))


def can_teach(session: Transaction, campaign: Campaign, advice: str) -> bool:
    """Whether a result may change the policy: nobody stopped the campaign, and it was delivered."""
    undelivered = select(exists().where(Campaign.id == campaign.id, _was_never_delivered()))
    is_usable = campaign.state != "cancelled" and advice != "unbelievable"
    return is_usable and not session.scalar(undelivered)


def _was_never_delivered() -> ColumnElement[bool]:
    in_sends, in_coupons = Send.campaign_id == Campaign.id, Coupon.campaign_id == Campaign.id
    is_delivered = exists().where(in_sends, Send.state.in_(sends.POSSIBLY_DELIVERED))
    is_redeemed = exists().where(in_coupons, Coupon.state == "redeemed")
    return exists().where(in_sends) & ~is_delivered & ~is_redeemed


def _require_window_over(campaign: Campaign, now: datetime) -> None:
    window_end = campaign.window_ends_at
    if window_end is not None and window_end > now:
        problem = gettext(
            "Campaign {name!r} can be measured from {ends:%d %b %Y, %H:%M} UTC on, when "
            "its window is over."
        )
        raise Conflict(problem.format(name=campaign.name, ends=window_end))


def _require_measurable(campaign: Campaign) -> None:
    """Reject a cancelled campaign that was never live or has a result."""
    if campaign.state == "cancelled" and (
        campaign.window_ends_at is None or campaign.result is not None
    ):
        raise StaleCampaign(campaign)
