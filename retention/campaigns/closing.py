"""Close campaigns: live → measuring → closed, with or without a result.

A campaign stopped while live stays cancelled. It is still measured over its planned window, because
a window that ends at a chosen moment is biased.

Computes no effect (`measurement`) and voids no codes.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from retention.campaigns.states import StaleCampaign, find_campaign, move_campaign
from retention.db.audit import record
from retention.db.tables import Campaign, Coupon, Send
from retention.errors import Conflict
from retention.outreach import sends
from retention.settings import Settings
from retention.text import gettext

IMPORT_DELAY = timedelta(days=1)  # shops import a day's orders in the following night
MAX_SILENCE = timedelta(days=3)  # after the window without orders; there may be none
MAX_WAIT = timedelta(days=28)  # for orders, after the window
NO_ORDERS = "no_orders"  # advice of a campaign that was not measured


def begin_measurement(
    session: Session, settings: Settings, campaign_id: str, actor: str, now: datetime
) -> Campaign:
    """Start measuring once the window is over.

    A killed run is resumed.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    actor : str
        Slack user id, or ``clock``.
    now : datetime
        Business time.

    Returns
    -------
    Campaign

    Raises
    ------
    Conflict
        The window is still open.
    StaleCampaign
        The campaign was never live.
    """
    campaign = find_campaign(session, settings, campaign_id)
    _require_measurable(campaign)
    if campaign.state in ("live", "cancelled"):
        _require_window_over(campaign, now)
    if campaign.state in ("measuring", "cancelled"):
        return campaign
    moved = move_campaign(
        session,
        settings,
        campaign_id,
        from_states=("live",),
        to_state="measuring",
        actor=actor,
        action="campaign.measuring",
        at=now,
        conditions=(Campaign.window_ends_at <= now,),
    )
    sends.cancel_unsent(session, campaign_id, "window_over")
    return moved


def close_campaign(
    session: Session,
    settings: Settings,
    campaign_id: str,
    result: dict[str, Any],
    actor: str,
    now: datetime,
) -> Campaign:
    """Store the result and close the campaign.

    A cancelled campaign gets its result and stays cancelled.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    campaign_id : str
        Campaign id.
    result : dict of str to object
        Of `measure` or `result_without_orders`.
    actor : str
        Slack user id, or ``clock``.
    now : datetime
        Business time.

    Returns
    -------
    Campaign

    Raises
    ------
    StaleCampaign
        The campaign is not being measured.
    """
    measured = not was_never_measured(result)
    campaign = find_campaign(session, settings, campaign_id)
    _require_measurable(campaign)
    if campaign.state == "cancelled":
        _require_window_over(campaign, now)
        campaign.result = result
        details = {"version": campaign.version, "to": "cancelled"}
        deed = "campaign.measured" if measured else "campaign.unmeasured"
        record(session, settings, actor, deed, campaign_id, now, details)
        session.flush()
        return campaign
    return move_campaign(
        session,
        settings,
        campaign_id,
        from_states=("measuring",),
        to_state="closed",
        actor=actor,
        action="campaign.closed" if measured else "campaign.unmeasured",
        at=now,
        result=result,
    )


def is_waiting_for_orders(campaign: Campaign, newest_order: datetime | None, now: datetime) -> bool:
    """Whether orders of the window are not imported yet.

    They are complete once an order is at or after the window's end. `MAX_SILENCE` later, an order
    at most `IMPORT_DELAY` before that end is enough.

    Parameters
    ----------
    campaign : Campaign
        The campaign.
    newest_order : datetime or None
        Newest order in the lake.
    now : datetime
        Business time.

    Returns
    -------
    bool
    """
    window_end = campaign.window_ends_at
    assert window_end is not None
    required = window_end if now < window_end + MAX_SILENCE else window_end - IMPORT_DELAY
    return newest_order is None or newest_order < required


def has_waited_enough(campaign: Campaign, now: datetime) -> bool:
    """Whether the campaign waited long enough for orders.

    Parameters
    ----------
    campaign : Campaign
        The campaign.
    now : datetime
        Business time.

    Returns
    -------
    bool
    """
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


def uninformative_campaigns(session: Session, settings: Settings) -> set[str]:
    """Return campaigns whose outcomes must not be learned from.

    These are campaigns in state ``measuring`` or ``cancelled``, those closed without orders or with
    a sample-ratio mismatch, and those that queued sends but possibly delivered none. A redeemed
    code shows that messages were delivered another way.

    Parameters
    ----------
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.

    Returns
    -------
    set of str
        Campaign ids.
    """
    is_unusable = Campaign.result["advice"].as_string().in_((NO_ORDERS, "unbelievable"))
    in_sends, in_coupons = Send.campaign_id == Campaign.id, Coupon.campaign_id == Campaign.id
    is_delivered = exists().where(in_sends, Send.state.in_(sends.POSSIBLY_DELIVERED))
    was_never_delivered = (
        exists().where(in_sends)
        & ~is_delivered
        & ~exists().where(in_coupons, Coupon.state == "redeemed")
    )
    uninformative = select(Campaign.id).where(
        Campaign.team_id == settings.team_id,
        or_(Campaign.state.in_(("measuring", "cancelled")), is_unusable, was_never_delivered),
    )
    return set(session.scalars(uninformative))


def _require_window_over(campaign: Campaign, now: datetime) -> None:
    window_end = campaign.window_ends_at
    if window_end is not None and window_end > now:
        raise Conflict(
            gettext(
                "Campaign {name!r} can be measured from {ends:%d %b %Y, %H:%M} UTC on, when "
                "its window is over."
            ).format(name=campaign.name, ends=window_end)
        )


def _require_measurable(campaign: Campaign) -> None:
    """Reject a cancelled campaign that was never live or has a result."""
    if campaign.state == "cancelled" and (
        campaign.window_ends_at is None or campaign.result is not None
    ):
        raise StaleCampaign(campaign)
