"""Measure what all campaigns together earn, against the programme's hold-out.

Everyone outside the hold-out counts, whether a campaign contacted them or not. The intervals hold
on all days at once (`retention.campaigns.measurement.sequential`), so people may look whenever they
like.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sqlalchemy import select

from retention.campaigns.measurement import outcomes
from retention.campaigns.measurement.effects import Z_ALPHA, Z_POWER
from retention.campaigns.measurement.sequential import daily_matrix, running_effect
from retention.campaigns.planning.programme_holdout import Holdout
from retention.db import Transaction
from retention.db.tables import Assignment, Campaign
from retention.lake.coverage import newest_order

if TYPE_CHECKING:
    from retention.lake import Lake

MONTH_DAYS = 30  # unit of the effect's pace
HISTORY_DAYS = 365  # an order in this time before the start makes a customer part of it
BEFORE_DAYS = 90  # whose profit reduces the variance (CUPED)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Month:
    """Cumulative profit until the end of a month, for all customers outside the hold-out.

    The three sums are None while a group has too few buyers.
    """

    month: str
    days: int
    profit: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ProgrammeResult:
    """The programme's result since the hold-out began."""

    since: datetime
    until: datetime
    share: float
    treated: int
    held_out: int
    campaigns: int
    months: tuple[Month, ...]

    @property
    def verdict(self) -> str:
        """Return ``gain``, ``loss``, ``inconclusive`` or ``too_early``."""
        last = self.months[-1] if self.months else None
        if last is None or last.low is None or last.high is None:
            return "too_early"
        return "gain" if last.low > 0 else "loss" if last.high < 0 else "inconclusive"

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of ``report programme``."""
        period = {"since": self.since.isoformat(), "until": self.until.isoformat()}
        return {**asdict(self), **period, "verdict": self.verdict}


def programme_result(
    lake: "Lake", session: Transaction, holdout: Holdout, now: datetime, margin: float
) -> ProgrammeResult:
    """Measure the programme.

    `holdout`: its ``since`` is the start.
    `now`: business time. Days after the newest order do not count.
    `margin`: share of sales, for items without their own.
    """
    since = holdout.since
    assert since is not None
    until = max(min(now, newest_order(lake, now) or since), since)
    days = (until - since) // DAY
    customers = _customers(lake, since)
    treated = np.array([not holdout.includes(customer) for customer in customers], bool)
    before = _totals_before(lake, customers, since, margin)
    rows, sent = _profits(session, outcomes.Period(lake, customers, since, until, since), margin)
    months: list[Month] = []
    if days and min(treated.sum(), (~treated).sum()) > 1:
        daily = daily_matrix(rows, "profit", pd.Series(customers), days)
        tau = _scale(before, treated)
        for name, length in _month_ends(lake, since, days):
            effect = running_effect(
                daily[:, :length], before, treated, window_days=MONTH_DAYS, tau=tau
            )
            scale = length / MONTH_DAYS * int(treated.sum())
            sums = (effect.per_customer, effect.low, effect.high)
            scaled = [None if value is None else value * scale for value in sums]
            months.append(Month(name, length, *scaled))
    sizes = int(treated.sum()), int((~treated).sum())
    return ProgrammeResult(since, until, holdout.share, *sizes, sent, tuple(months))


def _customers(lake: "Lake", since: datetime) -> list[str]:
    """Customers with an order in the year before the start, as known then."""
    events = lake.table("events", before=since, since=since - DAY * HISTORY_DAYS)
    bought = events.filter(events.event_type == "purchase")
    return sorted(bought.select("customer_id").distinct().execute()["customer_id"])


def _totals_before(
    lake: "Lake", customers: list[str], since: datetime, margin: float
) -> np.ndarray:
    start = since - DAY * BEFORE_DAYS
    rows = outcomes.daily_profit(outcomes.Period(lake, customers, start, since, since), margin)
    totals = rows.groupby("customer_id")["profit"].sum()
    return totals.reindex(customers).fillna(0.0).to_numpy(float)


def _profits(
    session: Transaction, period: outcomes.Period, margin: float
) -> "tuple[pd.DataFrame, int]":
    """Profit of sales, less discounts and contacts of campaigns, by customer and day."""
    lake, since, until = period.lake, period.start, period.end
    parts = [outcomes.daily_profit(period, margin)]
    campaigns = session.scalars(
        select(Campaign).where(
            Campaign.team_id == session.settings.team_id,
            Campaign.sent_at >= since,
            Campaign.sent_at < until,
        )
    ).all()
    for campaign in campaigns:
        assert campaign.sent_at is not None
        offset = (campaign.sent_at - since) // DAY
        discounts = outcomes.campaign_discounts(lake, session, campaign, campaign.sent_at, until)
        parts.append(discounts.assign(day=discounts["day"] + offset))
        contact = outcomes.collect_outcomes(lake, session, campaign, until=until).contact
        treated = (Assignment.campaign_id == campaign.id, Assignment.arm == "treatment")
        contacted = session.scalars(select(Assignment.customer_id).where(*treated)).all()
        costs = {"customer_id": contacted, "day": offset, "profit": -float(contact)}
        parts.append(pd.DataFrame(costs))
    rows = pd.concat(parts, ignore_index=True).astype({"day": int, "profit": float})
    return rows[rows["customer_id"].isin(period.ids)], len(campaigns)


def _scale(before: np.ndarray, treated: np.ndarray) -> float:
    """Return the scale of monthly effects, fixed by the time before the start.

    It is the smallest effect that a month can show with 80% power.
    """
    deviation = float(before.std(ddof=1)) * sqrt(MONTH_DAYS / BEFORE_DAYS)
    sizes = int(treated.sum()), int((~treated).sum())
    return (Z_ALPHA + Z_POWER) * deviation * sqrt(1 / sizes[0] + 1 / sizes[1])


def _month_ends(lake: "Lake", since: datetime, days: int) -> list[tuple[str, int]]:
    """Return each calendar month (shop's clock) and the whole days until its end."""
    ends: dict[str, int] = {}
    for day in range(1, days + 1):
        local = lake.local(since + DAY * day - timedelta(seconds=1))
        ends[f"{local:%Y-%m}"] = day
    return list(ends.items())
