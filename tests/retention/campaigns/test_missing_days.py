"""Test the detection of days without imported orders."""

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from retention.campaigns.measurement.late_orders import missing_days
from retention.lake import Lake
from tests.shop import import_frame, purchases

SENT = datetime(2025, 5, 1, 9, tzinfo=UTC)  # a Thursday
END = SENT + timedelta(days=28)
HOLE = (date(2025, 5, 6), date(2025, 5, 7), date(2025, 5, 11))  # a Tuesday, a Wednesday, a Sunday


def _shop(database, settings, *, buyers: int, closed_on: tuple[date, ...] = ()) -> Lake:
    """Make evening orders from ten weeks before the window, without Sundays and `HOLE`."""
    days = pd.date_range("2025-02-20", "2025-06-01")
    days = days[(days.weekday < 6) & ~days.isin(pd.to_datetime([*HOLE, *closed_on]))]
    evenings = (days + pd.Timedelta(hours=22)).tz_localize(settings.timezone).tz_convert("UTC")
    people = [f"k{number}" for number in range(buyers)]
    lake = Lake.open(settings)
    import_frame(lake, database, pd.concat([purchases(at, people) for at in evenings]))
    return lake


@pytest.fixture
def settings(settings):
    """In a zone where the evening's orders have the next day's date in UTC."""
    return settings.model_copy(update={"timezone": "America/New_York"})


@pytest.mark.parametrize(
    ("shop", "missing"),
    [
        ({"buyers": 25}, HOLE[:2]),  # on Sundays it is closed
        ({"buyers": 10}, ()),  # so few that a day without any may be chance
        # Closed on a Tuesday before, too
        ({"buyers": 25, "closed_on": (date(2025, 4, 22),)}, HOLE[1:2]),
    ],
)
def test_reports_days_without_orders_on_busy_weekdays(database, settings, shop, missing):
    assert missing_days(_shop(database, settings, **shop), SENT, END) == list(missing)


def test_reports_no_days_for_a_lake_without_orders(database, settings):
    assert missing_days(Lake.open(settings), SENT, END) == []
