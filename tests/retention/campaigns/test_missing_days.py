"""Test the detection of days without imported orders."""

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest

from retention.campaigns.measurement.late_orders import missing_days
from retention.lake import Lake
from retention.lake.importing.import_files import import_files

SENT = datetime(2025, 5, 1, 9, tzinfo=UTC)  # a Thursday
END = SENT + timedelta(days=28)
HOLE = (date(2025, 5, 6), date(2025, 5, 7), date(2025, 5, 11))  # a Tuesday, a Wednesday, a Sunday


def _shop(database, settings, *, buyers: int, closed_on: tuple[date, ...] = ()) -> Lake:
    """Make evening orders from ten weeks before the window, without Sundays and `HOLE`."""
    days = pd.date_range("2025-02-20", "2025-06-01")
    days = days[(days.weekday < 6) & ~days.isin(pd.to_datetime([*HOLE, *closed_on]))]
    frame = pd.MultiIndex.from_product([days, range(buyers)], names=["day", "who"]).to_frame(
        index=False
    )
    evening = (frame["day"] + pd.Timedelta(hours=22)).dt.tz_localize(settings.timezone)
    rows = pd.DataFrame(
        {
            "customer_id": "k" + frame["who"].astype(str),
            "event_type": "purchase",
            "occurred_at": evening.dt.tz_convert("UTC"),
            "order_id": frame["day"].dt.strftime("%j-") + frame["who"].astype(str),
            "amount": 5.0,
            "currency": "USD",
        }
    )
    file = settings.home / "events.parquet"
    settings.home.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(file)
    lake = Lake.open(settings)
    import_files(lake, database, settings, "events", [str(file)])
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
        (
            {"buyers": 25, "closed_on": (date(2025, 4, 22),)},
            HOLE[1:2],
        ),  # closed on a Tuesday before, too
    ],
)
def test_reports_days_without_orders_on_busy_weekdays(database, settings, shop, missing):
    assert missing_days(_shop(database, settings, **shop), SENT, END) == list(missing)


def test_reports_no_days_for_a_lake_without_orders(database, settings):
    assert missing_days(Lake.open(settings), SENT, END) == []
