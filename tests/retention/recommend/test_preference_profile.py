"""Preference profiles cover all kinds of events and significant habits."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from retention.recommend.preference_profile import preference_profile
from tests import readonly
from tests.retention.recommend.small_shop import SmallShop, make_shop

NOW = datetime(2025, 6, 1, tzinfo=UTC)
SATURDAY = datetime(2025, 2, 1, 18, tzinfo=UTC)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[SmallShop]:
    """Build a coffee buyer on Saturdays, tea buyers on all days and a viewer."""
    saturdays = [SATURDAY + timedelta(weeks=week, minutes=week) for week in range(16)]
    lines = [("fan", "purchase", at, "coffee-b", {"order_id": f"{at}"}) for at in saturdays]
    for day in range(140):
        at = datetime(2025, 1, 1, 9 + day % 9, tzinfo=UTC) + timedelta(days=day)
        lines.append((f"other{day % 20}", "purchase", at, "tea-a", {}))
    day = timedelta(days=1)
    lines += [
        ("fan", "purchase", NOW - 9 * day, "tea-b", {"order_id": "t"}),
        ("fan", "return", NOW - 5 * day, "tea-b", {}),
        ("fan", "return", NOW - 4 * day, "tea-b", {}),
        ("fan", "coupon_redeem", NOW - 9 * day, None, {"order_id": "t"}),
        ("fan", "coupon_redeem", NOW - 16 * day, None, {}),
        ("looker", "view", NOW - 3 * day, "coffee-a", {"duration_s": 900.0}),
        ("looker", "view", NOW - 3.1 * day, "tea-a", {"duration_s": 5.0}),
        ("looker", "view", NOW - 3.2 * day, "tea-b", {"duration_s": 5.0}),
        ("looker", "search", NOW - 2 * day, None, {"query": " Espresso "}),
        ("critic", "review", NOW - 2 * day, "tea-c", {"rating": 1.0}),
        ("critic", "review", NOW - 2 * day, "coffee-c", {"rating": 5.0}),
        ("fan", "purchase", NOW + day, "tea-c", {"order_id": "future"}),
    ]
    items = [
        (f"{kind}-{size}", f"{kind} {size}", kind, price)
        for kind in ("coffee", "tea")
        for size, price in (("a", 1.0), ("b", 5.0), ("c", 20.0))
    ]
    with readonly.shared(make_shop(tmp_path_factory.mktemp("portrait"), lines, items)) as shop:
        yield shop


def test_profile_names_categories_price_band_and_habits(shop):
    profile = preference_profile(shop.lake, "fan", NOW)
    summary = "mostly coffee, mid-price, Saturdays, evenings, uses coupons, not tea"
    assert profile["summary"] == summary
    assert profile["categories"] == [{"name": "coffee", "share": 1.0, "shop": round(16 / 156, 3)}]
    assert profile["price"] == {"band": "mid-price", "rank": 0.5}
    assert profile["weekday"]["share"] > 0.9 > profile["weekday"]["shop"]


def test_longer_views_count_more_and_searches_are_listed(shop):
    profile = preference_profile(shop.lake, "looker", NOW)
    shares = {line["name"]: line["share"] for line in profile["categories"]}
    # One long look, at most twice a usual one, beside two short ones.
    assert shares["coffee"] == pytest.approx(0.5, abs=0.01)
    names = ("searches", "price", "weekday")
    assert [profile[name] for name in names] == [["espresso"], None, None]


def test_bad_ratings_count_against_and_good_ones_for(shop):
    profile = preference_profile(shop.lake, "critic", NOW)
    assert profile["against"][0]["name"] == "tea"
    assert profile["summary"] == "mostly coffee, not tea"


def test_unknown_customer_has_empty_profile(shop):
    profile = preference_profile(shop.lake, "nobody", NOW)
    assert (profile["summary"], profile["events"], profile["categories"]) == ("", 0, [])


def test_later_events_are_not_read(shop):
    early, late = (
        preference_profile(shop.lake, "fan", NOW + timedelta(days=days))["events"]
        for days in (0, 2)
    )
    assert early == late - 1


def test_weekdays_follow_the_shops_time_zone(shop):
    """Saturday 18:00 UTC is Sunday morning in Auckland."""
    profile = preference_profile(shop.lake, "fan", NOW, "Pacific/Auckland")
    assert profile["weekday"]["name"] == "Sundays"


def test_shop_with_only_ids_has_profiles(tmp_path):
    bare = make_shop(
        tmp_path, [("a", "purchase", NOW - timedelta(days=n), None, {}) for n in range(3)], []
    )
    profile = preference_profile(bare.lake, "a", NOW)
    assert profile["summary"] == ""
    assert pd.notna(profile["coupons"]["discounted"])


def test_habit_needs_several_orders(shop):
    """Four of four Saturdays would be significant by Wilson's bound."""
    sundays = [SATURDAY + timedelta(weeks=weeks, days=1) for weeks in (0, 3, 4)]
    habits = [preference_profile(shop.lake, "fan", at)["weekday"] for at in sundays]
    assert [habit and habit["name"] for habit in habits] == [None, None, "Saturdays"]
