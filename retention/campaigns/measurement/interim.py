"""Compute the always-valid interim result of a live campaign."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from retention.campaigns.lifecycle.copy_test import drawn_variants
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.measurement import sequential
from retention.campaigns.measurement.outcomes import Outcomes, collect_outcomes
from retention.campaigns.measurement.sequential import InterimResult
from retention.campaigns.measurement.variants import compare
from retention.db import Transaction
from retention.db.tables import Campaign
from retention.lake.coverage import newest_order
from retention.outreach import tracking

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
    lake: "Lake", session: Transaction, campaign: Campaign, now: datetime
) -> tuple[InterimResult, datetime | None]:
    """Return the interim result of a sent campaign.

    Returns: the moment of the newest order if orders are missing since then.
    """
    assert campaign.sent_at is not None
    assert campaign.window_ends_at is not None
    counted = collect_outcomes(lake, session, campaign, until=now)
    body, day = Body.of(campaign), timedelta(days=1)
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
    compared = compare_variants(session, campaign, counted, until)
    result = replace(result, variants=compared)
    return result, newest if is_behind and (now - newest) // day else None


def compare_variants(
    session: Transaction, campaign: Campaign, counted: Outcomes, until: datetime
) -> dict[str, Any] | None:
    """Return what a test of variants shows at a moment, or showed when it was decided.

    Returns: `Comparison` as plain data; None without a test.
    """
    body = Body.of(campaign)
    test, start = body.test, campaign.sent_at
    if test is None or start is None or campaign.test_result is not None:
        return campaign.test_result
    days = test.days if test.share < 1 else body.window_days
    variants = drawn_variants(session, campaign.id)
    day = min(max((until - start).days, 0), days)
    is_even = not test.chances
    compared = compare(counted, variants, day=day, days=days, metric=test.metric, is_even=is_even)
    reach = tracking.counts(session, campaign.id, "variant")
    shown = tuple(
        replace(one, **{name: getattr(seen, name) for name in ("delivered", "opened", "clicked")})
        if (seen := reach.get(one.name)) and seen.tracked
        else one
        for one in compared.variants
    )
    return replace(compared, variants=shown).as_dict()


def harmful_campaigns(lake: "Lake", session: Transaction, now: datetime) -> list[Harm]:
    """Return the live campaigns that lose money by their always-valid test.

    Returns: a campaign without effect gets into the list with a chance of at most `HARM_ALPHA`,
    however often it is looked at.
    """
    has_window = (Campaign.sent_at.is_not(None), Campaign.window_ends_at.is_not(None))
    in_team = Campaign.team_id == session.settings.team_id
    live = select(Campaign).where(in_team, Campaign.state == "live", *has_window)
    harmful = []
    for campaign in session.scalars(live).all():
        result, _ = interim(lake, session, campaign, now)
        profit, ratio = result.effects.get("profit"), result.sample_ratio
        if profit is None or profit.high is None or profit.high >= 0 or not ratio.believable:
            continue
        harmful.append(Harm(campaign, profit.low or 0.0, profit.high, ratio.treated))
    return harmful
