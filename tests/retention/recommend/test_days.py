"""Days of a history follow the shop's clock."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from retention.recommend import recommend
from retention.recommend.history import read
from tests.retention.recommend.small_shop import SmallShop, make_shop


def shop_in(zone: str, home: Path, bought: datetime) -> SmallShop:
    """Build a shop with one purchase."""
    items = [("a", "Kettle", "", 9.0)]
    return make_shop(home, [("c", "purchase", bought, "a", {})], items, timezone=zone)


@pytest.mark.nightly_after(3)
@pytest.mark.parametrize(
    ("zone", "bought", "now", "ago"),
    [
        # noon and 7 in the evening
        ("America/Los_Angeles", "2025-01-30T20:00Z", "2025-01-31T03:00Z", "today"),
        ("America/Los_Angeles", "2025-01-30T07:00Z", "2025-01-30T20:00Z", "yesterday"),
        # 9 and, the day after, 8 in the morning
        ("Asia/Tokyo", "2025-01-30T00:00Z", "2025-01-30T23:00Z", "yesterday"),
        ("Asia/Tokyo", "2025-01-30T16:00Z", "2025-01-31T14:00Z", "today"),
        ("UTC", "2025-01-30T20:00Z", "2025-01-31T03:00Z", "yesterday"),
        # half past midnight, in summer, and noon
        ("Europe/London", "2025-07-10T23:30Z", "2025-07-11T11:00Z", "today"),
        ("America/Los_Angeles", "2025-07-10T07:30Z", "2025-07-10T19:00Z", "today"),
    ],
)
def test_days_follow_the_shops_clock(tmp_path, zone, bought, now, ago):
    """A Californian purchase at noon was 'bought yesterday' the same evening."""
    at, to = (datetime.fromisoformat(moment) for moment in (bought, now))
    shop = shop_in(zone, tmp_path, at)
    for _ in range(3):  # also from what a warm worker keeps
        (item,) = recommend(None, shop.lake, ["c"], k=1, as_of=to)["c"]
        assert item.why == f"bought once, last {ago}"
    history = read(shop.lake, to)
    assert history.moment(history.at(to)) == to
    assert int(history.at(to)) - history.day[0] == (ago == "yesterday")


@pytest.mark.parametrize("month", [1, 7])
@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Europe/London", "Asia/Kathmandu"])
def test_shops_midnight_ends_the_days_before_it(tmp_path, zone, month):
    """In summer the last horizon ended 23 hours before its cutoff."""
    midnight = datetime(2025, month, 11, tzinfo=ZoneInfo(zone))
    evening = midnight - timedelta(minutes=30)
    history = read(shop_in(zone, tmp_path, evening).lake, midnight)
    assert int(history.at(midnight)) == history.at(midnight) == history.day[0] + 1


def test_cached_history_uses_the_clock_of_the_moment(tmp_path):
    """Half past midnight in summer time is the day before in winter time."""
    bought = datetime(2025, 10, 24, 23, 30, tzinfo=UTC)
    shop = shop_in("Europe/London", tmp_path, bought)

    def why(at: datetime) -> str:
        return recommend(None, shop.lake, ["c"], k=1, as_of=at)["c"][0].why

    for _ in range(3):
        why(datetime(2025, 11, 3, 12, tzinfo=UTC))
    assert [why(datetime(2025, 10, 25, 12, tzinfo=UTC)) for _ in range(3)] == [
        "bought once, last today"
    ] * 3
