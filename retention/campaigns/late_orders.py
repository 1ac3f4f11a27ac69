"""Orders of a window that were imported after its result was told: how many, and what it would be with them."""

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention import clock
from retention.campaigns import closing
from retention.campaigns.states import find
from retention.db.tables import Campaign
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.campaigns.outcomes import Outcomes
    from retention.db import Database
    from retention.lake import Lake

# After a window's end; a month's orders come in the month after, at the latest.
LOOKED_AT = timedelta(days=56)
_ARMS = ("treatment", "control")
BASELINE_WEEKS = 8  # before the window; gives the usual number of buyers per weekday
MIN_USUAL_BUYERS = 20  # below this, a day without orders may be chance


def orders_here(counted: "Outcomes") -> dict[str, int]:
    """How many orders of the window each arm has, as far as they are imported."""
    orders = counted.customers.groupby("arm")["orders"].sum()
    return {arm: int(orders.get(arm, 0)) for arm in _ARMS}


def note(lake: "Lake", database: "Database", settings: Settings) -> list[str]:
    """Keep beside each result what it would be with the orders of its window that are there by now, where these are more.

    The result stays as it was told, for it was acted on.

    Returns
    -------
    list of str
        Ids of the campaigns of which there is something to tell.
    """
    now, found = clock.now(), {}
    told = select(Campaign).where(
        Campaign.team_id == settings.team_id,
        Campaign.state.in_(("closed", "cancelled")),
        Campaign.window_ends_at > now - LOOKED_AT,
    )
    with database.reading() as session:
        for campaign in session.scalars(told):
            if later := _later(lake, session, campaign):
                found[campaign.id] = later
    for campaign_id, later in found.items():
        with database.transaction() as session:
            campaign = find(session, settings, campaign_id, lock=True)
            campaign.result = {**(campaign.result or {}), "later": later}
    return list(found)


def untold(session: Session, settings: Settings) -> list[str]:
    """Ids of the campaigns whose threads do not tell of it yet; from now on they count as told."""
    fresh = Campaign.result["later"]["told"].as_boolean().is_(False)
    ids = list(
        session.scalars(select(Campaign.id).where(Campaign.team_id == settings.team_id, fresh))
    )
    for campaign_id in ids:
        campaign = find(session, settings, campaign_id, lock=True)
        result = campaign.result or {}
        campaign.result = {**result, "later": {**result["later"], "told": True}}
    session.flush()
    return ids


def _later(lake: "Lake", session: Session, campaign: Campaign) -> dict[str, Any] | None:
    """What the result would be now, where there are more orders than when it was told last."""
    from retention.campaigns.measurement import measure
    from retention.campaigns.outcomes import METRICS, outcomes
    from retention.lake.watermark import newest_order

    result, now = campaign.result or {}, clock.now()
    nothing = dict.fromkeys(_ARMS, 0) if closing.never_measured(result) else None
    before = (result.get("later") or result).get("orders_here", nothing)
    if before is None:  # it was measured when this was not kept
        return None
    if closing.never_measured(result) and closing.awaited(campaign, newest_order(lake, now), now):
        return None
    counted = outcomes(lake, session, campaign)
    here = orders_here(counted)
    if all(here[arm] <= before[arm] for arm in _ARMS):
        return None
    measured = measure(counted, planned_share=1 - campaign.body["holdout"], metrics=METRICS)
    return {**measured.as_dict(), "orders_here": here, "told": False}


def missing_days(lake: "Lake", start: datetime, end: datetime) -> list[date]:
    """Whole days of [start, end) by the shop's calendar without an order, of weekdays on which it never sold little.

    Who closes on Sundays, or on some of them, misses none. A holiday looks like a day that was not imported.
    """
    import pandas as pd

    first, last = (moment.astimezone(ZoneInfo(lake.zone)).date() for moment in (start, end))
    events = lake.table("events", before=end, since=start - timedelta(weeks=BASELINE_WEEKS, days=1))
    minute = events.occurred_at.truncate("m")
    purchases = events.filter(events.event_type == "purchase").group_by(minute=minute)
    sold = purchases.aggregate(buyers=events.customer_id.nunique()).execute()
    day = pd.to_datetime(sold["minute"], utc=True).dt.tz_convert(lake.zone).dt.date
    calendar = pd.date_range(first - timedelta(weeks=BASELINE_WEEKS), last - timedelta(days=1)).date
    buyers = sold.groupby(day)["buyers"].sum().reindex(calendar, fill_value=0)
    baseline, window = buyers[buyers.index < first], buyers[buyers.index > first]
    fewest = baseline.groupby([day.weekday() for day in baseline.index]).min()
    return [
        day
        for day, number in window.items()
        if number == 0 and fewest[day.weekday()] >= MIN_USUAL_BUYERS
    ]
