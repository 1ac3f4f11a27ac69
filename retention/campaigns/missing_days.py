"""Days of a campaign's window of which the lake has no order at all, though the shop always sells on such days.

Without them both arms bought nothing then: no arm is favoured, but what the campaign brought is told too small.
"""

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from retention.lake import Lake

WEEKS = 8  # before the window, in which a weekday shows how much the shop sells on it
LEAST = 20  # buyers on each such day: where there are so many, none at all is no chance


def missing_days(lake: "Lake", start: datetime, end: datetime) -> list[date]:
    """Whole days of [start, end) by the shop's calendar without an order, of weekdays on which it never sold little.

    Who closes on Sundays, or on some of them, misses none. A holiday looks like a day that was not imported.
    """
    import pandas as pd

    first, last = (moment.astimezone(ZoneInfo(lake.zone)).date() for moment in (start, end))
    events = lake.table("events", before=end, since=start - timedelta(weeks=WEEKS, days=1))
    minute = events.occurred_at.truncate("m")
    found = events.filter(events.event_type == "purchase").group_by(minute=minute)
    sold = found.aggregate(buyers=events.customer_id.nunique()).execute()
    day = pd.to_datetime(sold["minute"], utc=True).dt.tz_convert(lake.zone).dt.date
    calendar = pd.date_range(first - timedelta(weeks=WEEKS), last - timedelta(days=1)).date
    buyers = sold.groupby(day)["buyers"].sum().reindex(calendar, fill_value=0)
    before, window = buyers[buyers.index < first], buyers[buyers.index > first]
    least = before.groupby([day.weekday() for day in before.index]).min()
    return [day for day, number in window.items() if not number and least[day.weekday()] >= LEAST]
