"""Compute the always-valid interim result of a live campaign."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.campaigns import sequential
from retention.campaigns.outcomes import collect_outcomes
from retention.campaigns.sequential import InterimResult
from retention.campaigns.spec import Body
from retention.db.tables import Campaign
from retention.lake.coverage import newest_order
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.lake import Lake

UP_TO_DATE = timedelta(hours=1)  # newer orders count as complete
HARM_ALPHA = sequential.ALPHA  # chance of a false alarm in a whole campaign, however often looked


@dataclass(frozen=True, slots=True)
class Harm:
    """A live campaign whose profit is below that of its hold-out group.

    ``low`` and ``high`` hold on all days at once, per treated customer.
    """

    campaign: Campaign
    low: float
    high: float
    treated: int


def interim(
    lake: "Lake", session: Session, campaign: Campaign, now: datetime
) -> tuple[InterimResult, datetime | None]:
    """Return the interim result of a sent campaign.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    session : Session
        Open session; the caller commits.
    campaign : Campaign
        A campaign with a window.
    now : datetime
        Business time.

    Returns
    -------
    InterimResult, datetime or None
        The moment of the newest order if orders are missing since then.
    """
    assert campaign.sent_at is not None
    assert campaign.window_ends_at is not None
    counted = collect_outcomes(lake, session, campaign, until=now)
    body, day = Body.model_validate(campaign.body), timedelta(days=1)
    # A day without imported orders does not count. As a day without buyers it would lower the pace.
    newest = max(newest_order(lake, now) or campaign.sent_at, campaign.sent_at)
    is_behind = now - newest > UP_TO_DATE and newest < campaign.window_ends_at
    until = newest if is_behind else min(now, campaign.window_ends_at)
    result = sequential.interim_result(
        counted,
        day=(until - campaign.sent_at) // day,
        days=(campaign.window_ends_at - campaign.sent_at) // day,
        planned_share=1 - body.holdout,
        scales=sequential.effect_scales(body),
    )
    return result, newest if is_behind and (now - newest) // day else None


def harmful_campaigns(
    lake: "Lake", session: Session, settings: Settings, now: datetime
) -> list[Harm]:
    """Return the live campaigns that lose money by their always-valid test.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    session : Session
        Open session; the caller commits.
    settings : Settings
        Settings of the installation.
    now : datetime
        Business time.

    Returns
    -------
    list of Harm
        A campaign without effect gets into the list with a chance of at most `HARM_ALPHA`, however
        often it is looked at.
    """
    live = session.scalars(
        select(Campaign).where(
            Campaign.team_id == settings.team_id,
            Campaign.state == "live",
            Campaign.sent_at.is_not(None),
            Campaign.window_ends_at.is_not(None),
        )
    ).all()
    harmful = []
    for campaign in live:
        result, _ = interim(lake, session, campaign, now)
        profit = result.effects.get("profit")
        is_worse = profit is not None and profit.high is not None and profit.high < 0
        if is_worse and result.sample_ratio.believable:
            harmful.append(
                Harm(campaign, profit.low or 0.0, profit.high, result.sample_ratio.treated)  # type: ignore[union-attr, arg-type]
            )
    return harmful
