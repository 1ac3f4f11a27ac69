"""The end of a campaign: live → measuring → closed, with its result.

One that was stopped while it was live stays cancelled and is measured all the same, over the window that was planned for
it: a window that ends when somebody has seen enough would flatter what they saw.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from retention.campaigns.states import Stale, find, move, record
from retention.db.tables import Campaign
from retention.errors import Conflict
from retention.outreach import sends
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.lake import Lake

LATE = timedelta(days=1)  # shops import a day's orders the night after


def begin(session: Session, settings: Settings, campaign_id: str, actor: str, now: datetime) -> Campaign:
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
        session, settings, campaign_id, frm=("live",), to="measuring", actor=actor, action="campaign.measuring",
        at=now, where=(Campaign.window_ends_at <= now,),
    )  # fmt: skip
    sends.cancel(session, campaign_id, "not sent before the window was over")
    return moved


def finish(
    session: Session, settings: Settings, campaign_id: str, result: dict[str, Any], actor: str, now: datetime
) -> Campaign:
    """From measuring to closed, with the result; a cancelled one gets its result and stays so."""
    campaign = find(session, settings, campaign_id)
    _refuse_what_never_was_live(campaign)
    if campaign.state == "cancelled":
        _refuse_before_its_end(campaign, now)
        campaign.result = result
        details = {"version": campaign.version, "to": "cancelled"}
        record(session, settings, actor, "campaign.measured", campaign_id, now, details)
        session.flush()
        return campaign
    return move(
        session, settings, campaign_id, frm=("measuring",), to="closed", actor=actor, action="campaign.closed",
        at=now, result=result,
    )  # fmt: skip


def awaited(lake: "Lake", campaign: Campaign, now: datetime) -> bool:
    """Whether the orders of its window have yet to be imported: without them nobody would have bought, in either arm.

    They are there as far as anything is that happened at its end, but for `LATE`.
    """
    assert campaign.window_ends_at is not None
    newest = lake.newest_event(before=now)
    return newest is None or newest < campaign.window_ends_at - LATE


def _refuse_before_its_end(campaign: Campaign, now: datetime) -> None:
    ends = campaign.window_ends_at
    if ends is not None and ends > now:
        raise Conflict(
            f"Campaign {campaign.name!r} can be measured from {ends:%d %b %Y, %H:%M} UTC on, when its window is over."
        )


def _refuse_what_never_was_live(campaign: Campaign) -> None:
    """A cancelled campaign is measured once, and only if it had been sent."""
    if campaign.state == "cancelled" and (campaign.window_ends_at is None or campaign.result is not None):
        raise Stale(campaign)
