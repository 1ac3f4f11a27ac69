"""The end of a campaign: live → measuring → closed, with its result."""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from retention.campaigns.states import find, move
from retention.db.tables import Campaign
from retention.errors import Conflict
from retention.outreach import sends
from retention.settings import Settings


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
    if campaign.state == "measuring":
        return campaign
    ends = campaign.window_ends_at
    if campaign.state == "live" and ends is not None and ends > now:
        raise Conflict(
            f"Campaign {campaign.name!r} can be measured from {ends:%d %b %Y, %H:%M} UTC on, when its window is over."
        )
    moved = move(
        session, settings, campaign_id, frm=("live",), to="measuring", actor=actor, action="campaign.measuring",
        at=now, where=(Campaign.window_ends_at <= now,),
    )  # fmt: skip
    sends.cancel(session, campaign_id, "not sent before the window was over")
    return moved


def finish(
    session: Session, settings: Settings, campaign_id: str, result: dict[str, Any], actor: str, now: datetime
) -> Campaign:
    """From measuring to closed, with the result."""
    return move(
        session, settings, campaign_id, frm=("measuring",), to="closed", actor=actor, action="campaign.closed",
        at=now, result=result,
    )  # fmt: skip
