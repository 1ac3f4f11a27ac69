"""The end of a campaign: live → measuring → closed, with its result, or without one where its orders never came.

One that was stopped while it was live stays cancelled and is measured all the same, over the window that was planned for
it: a window that ends when somebody has seen enough would flatter what they saw.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from retention.campaigns.states import Stale, find, move
from retention.db.audit import record
from retention.db.tables import Campaign, Coupon, Send
from retention.errors import Conflict
from retention.outreach import sends
from retention.settings import Settings
from retention.text import gettext

LATE = timedelta(days=1)  # shops import a day's orders the night after
QUIET = timedelta(
    days=3
)  # where nobody has bought since the window's end for so long, nobody may have
GIVEN_UP = timedelta(days=28)  # after the window's end orders are not waited for any more
NO_ORDERS = "no_orders"  # the advice of a campaign that was not measured


def begin(
    session: Session, settings: Settings, campaign_id: str, actor: str, now: datetime
) -> Campaign:
    """From live to measuring, once the window is over; a run that died half-way is taken up again.

    Raises
    ------
    Conflict
        The window is still open.
    Stale
        It is not live.
    """
    campaign = find(session, settings, campaign_id)
    _refuse_what_never_was_live(campaign)
    if campaign.state in ("live", "cancelled"):
        _refuse_before_its_end(campaign, now)
    if campaign.state in ("measuring", "cancelled"):
        return campaign
    moved = move(
        session,
        settings,
        campaign_id,
        frm=("live",),
        to="measuring",
        actor=actor,
        action="campaign.measuring",
        at=now,
        where=(Campaign.window_ends_at <= now,),
    )
    sends.cancel_unsent(session, campaign_id, "not sent before the window was over")
    return moved


def finish(
    session: Session,
    settings: Settings,
    campaign_id: str,
    result: dict[str, Any],
    actor: str,
    now: datetime,
) -> Campaign:
    """From measuring to closed, with the result; a cancelled one gets its result and stays so.

    ``result``: of `measure`, or `without_orders`.
    """
    measured = not never_measured(result)
    campaign = find(session, settings, campaign_id)
    _refuse_what_never_was_live(campaign)
    if campaign.state == "cancelled":
        _refuse_before_its_end(campaign, now)
        campaign.result = result
        details = {"version": campaign.version, "to": "cancelled"}
        deed = "campaign.measured" if measured else "campaign.unmeasured"
        record(session, settings, actor, deed, campaign_id, now, details)
        session.flush()
        return campaign
    return move(
        session,
        settings,
        campaign_id,
        frm=("measuring",),
        to="closed",
        actor=actor,
        action="campaign.closed" if measured else "campaign.unmeasured",
        at=now,
        result=result,
    )


def awaited(campaign: Campaign, newest_order: datetime | None, now: datetime) -> bool:
    """Whether the orders of its window have yet to be imported: without them nobody would have bought, in either arm.

    An order from after its end says that they are there. Once such a one has not come for `QUIET`, perhaps because nobody
    has bought since, one of the window's last day (`LATE`) is enough.
    """
    ends = campaign.window_ends_at
    assert ends is not None
    reached = ends if now < ends + QUIET else ends - LATE
    return newest_order is None or newest_order < reached


def given_up(campaign: Campaign, now: datetime) -> bool:
    """Whether its orders have been awaited long enough."""
    assert campaign.window_ends_at is not None
    return now >= campaign.window_ends_at + GIVEN_UP


def without_orders(newest_order: datetime | None) -> dict[str, Any]:
    """The result of a campaign whose orders never came: no figures, for nothing can be said of it."""
    return {
        "advice": NO_ORDERS,
        "effects": {},
        "newest_order": newest_order.isoformat() if newest_order else None,
    }


def never_measured(result: dict[str, Any] | None) -> bool:
    """Whether this result is that of a campaign whose orders never came."""
    return result is not None and result.get("advice") == NO_ORDERS


def teaching_nothing(session: Session, settings: Settings) -> set[str]:
    """Ids of the campaigns that nothing is learnt from.

    Of some nobody knows who bought: their orders are awaited, or were given up. The arms of some have not the sizes they were
    drawn with, so that they differ in more than the offer. Of those that were stopped many who
    were to be treated got nothing, or a code that was void. Of some no copy ever went out, as of a file that nobody took;
    where a code was redeemed all the same, they evidently went out another way.
    """
    unread = Campaign.result["advice"].as_string().in_((NO_ORDERS, "unbelievable"))
    copies, codes = Send.campaign_id == Campaign.id, Coupon.campaign_id == Campaign.id
    reached = exists().where(copies, Send.state.in_(sends.PERHAPS_THERE))
    idle = exists().where(copies) & ~reached & ~exists().where(codes, Coupon.state == "redeemed")
    found = select(Campaign.id).where(
        Campaign.team_id == settings.team_id,
        or_(Campaign.state.in_(("measuring", "cancelled")), unread, idle),
    )
    return set(session.scalars(found))


def _refuse_before_its_end(campaign: Campaign, now: datetime) -> None:
    ends = campaign.window_ends_at
    if ends is not None and ends > now:
        raise Conflict(
            gettext(
                "Campaign {name!r} can be measured from {ends:%d %b %Y, %H:%M} UTC on, when "
                "its window is over."
            ).format(name=campaign.name, ends=ends)
        )


def _refuse_what_never_was_live(campaign: Campaign) -> None:
    """A cancelled campaign is measured once, and only if it had been sent."""
    if campaign.state == "cancelled" and (
        campaign.window_ends_at is None or campaign.result is not None
    ):
        raise Stale(campaign)
