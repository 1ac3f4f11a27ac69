"""Find orders that arrive late or not at all.

A result stays as reported, because people acted on it. The recomputed result is stored next to it
under ``result["later"]`` and announced once in the campaign's thread.
"""

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from retention import clock
from retention.campaigns.lifecycle import closing
from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.lifecycle.states import find_campaign
from retention.campaigns.measurement.effects import measure
from retention.campaigns.measurement.outcomes import METRICS, collect_outcomes, imported_orders
from retention.db import Transaction
from retention.db.tables import Campaign
from retention.lake.coverage import newest_order

if TYPE_CHECKING:
    from retention.campaigns.measurement.outcomes import Outcomes
    from retention.db import Database
    from retention.lake import Lake

RECHECK_PERIOD = timedelta(days=56)  # after the window; monthly order files arrive within it
MEASURED_GROUPS = ("treatment", "control")
BASELINE_WEEKS = 8  # before the window; gives the usual number of buyers per weekday
MIN_USUAL_BUYERS = 20  # below this, a day without orders may be chance


def count_orders(outcomes: "Outcomes") -> dict[str, int]:
    """Count the imported orders of the window per group."""
    orders = outcomes.customers.groupby("arm")["orders"].sum()
    return {arm: int(orders.get(arm, 0)) for arm in MEASURED_GROUPS}


def update_late_results(lake: "Lake", database: "Database") -> list[str]:
    """Store recomputed results of campaigns that gained orders."""
    now, recomputed = clock.now(), {}
    recent = select(Campaign).where(
        Campaign.team_id == database.settings.team_id,
        Campaign.state.in_(("closed", "cancelled")),
        Campaign.window_ends_at > now - RECHECK_PERIOD,
    )
    with database.reading() as session:
        for campaign in session.scalars(recent):
            if result := _recompute(lake, session, campaign):
                recomputed[campaign.id] = result
    for campaign_id, result in recomputed.items():
        with database.transaction() as session:
            campaign = find_campaign(session, campaign_id, lock=True)
            campaign.result = {**(campaign.result or {}), "later": result}
    return list(recomputed)


def unannounced_results(session: Transaction) -> list[str]:
    """Return the ids of campaigns with a new late result."""
    unannounced = Campaign.result["later"]["told"].as_boolean().is_(False)
    in_team = Campaign.team_id == session.settings.team_id
    return list(session.scalars(select(Campaign.id).where(in_team, unannounced)))


def mark_result_announced(session: Transaction, campaign_id: str) -> Campaign:
    """Mark a late result as announced, in the savepoint that writes the announcement."""
    campaign = find_campaign(session, campaign_id, lock=True)
    result = campaign.result or {}
    campaign.result = {**result, "later": {**result["later"], "told": True}}
    return campaign


def _recompute(lake: "Lake", session: Transaction, campaign: Campaign) -> dict[str, Any] | None:
    """The new result; None if no group gained orders."""
    result, now = campaign.result or {}, clock.now()
    default = dict.fromkeys(MEASURED_GROUPS, 0) if closing.was_never_measured(result) else None
    previous = (result.get("later") or result).get("orders_here", default)
    if previous is None:  # measured before counts were stored
        return None
    if closing.was_never_measured(result) and closing.is_waiting_for_orders(
        campaign, newest_order(lake, now), now
    ):
        return None
    orders = imported_orders(lake, session, campaign)
    orders = {arm: orders.get(arm, 0) for arm in MEASURED_GROUPS}
    if all(orders[arm] <= previous[arm] for arm in MEASURED_GROUPS):
        return None  # the usual case: the rest takes ten times as long
    outcomes = collect_outcomes(lake, session, campaign)
    measured = measure(outcomes, planned_share=1 - Body.of(campaign).holdout, metrics=METRICS)
    return {**measured.as_dict(), "orders_here": orders, "told": False}


def missing_days(lake: "Lake", start: datetime, end: datetime) -> list[date]:
    """Return days without orders on weekdays that always sell.

    A day without imported orders hides sales of both groups. The comparison stays fair, but the
    measured effect is too small.

    `end`: end of the window, exclusive. Partial days at both ends are ignored.
    Returns: days of the shop's calendar, in order. Weekdays on which the shop is sometimes closed
    are never reported.

    Notes
    -----
    A public holiday looks like a day that was not imported.
    """
    import pandas as pd

    first_day, last_day = (moment.astimezone(ZoneInfo(lake.zone)).date() for moment in (start, end))
    events = lake.table("events", before=end, since=start - timedelta(weeks=BASELINE_WEEKS, days=1))
    minute = events.occurred_at.truncate("m")
    purchases = events.filter(events.event_type == "purchase").group_by(minute=minute)
    sold = purchases.aggregate(buyers=events.customer_id.nunique()).execute()
    day = pd.to_datetime(sold["minute"], utc=True).dt.tz_convert(lake.zone).dt.date
    begin = first_day - timedelta(weeks=BASELINE_WEEKS)
    calendar = pd.date_range(begin, last_day - timedelta(days=1)).date
    buyers = sold.groupby(day)["buyers"].sum().reindex(calendar, fill_value=0)
    baseline, window = buyers[buyers.index < first_day], buyers[buyers.index > first_day]
    fewest = baseline.groupby([day.weekday() for day in baseline.index]).min()
    empty = window.index[window == 0]
    return [day for day in empty if fewest[day.weekday()] >= MIN_USUAL_BUYERS]
