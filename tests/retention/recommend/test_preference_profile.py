"""What a customer likes, in words: from every kind of event, against what was returned, with habits only where they are sure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from retention.recommend.preference_profile import preference_profile
from tests import readonly
from tests.retention.recommend.made import Made, made

NOW = datetime(2025, 6, 1, tzinfo=UTC)
SATURDAY = datetime(2025, 2, 1, 18, tzinfo=UTC)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Made]:
    """One who buys coffee on Saturday evenings and returned tea; others who buy tea on all days; one who only looks."""
    lines = [
        (
            "fan",
            "purchase",
            SATURDAY + timedelta(weeks=week, minutes=week),
            "coffee-b",
            {"order_id": f"f{week}"},
        )
        for week in range(16)
    ]
    lines += [
        ("fan", "purchase", NOW - timedelta(days=9), "tea-b", {"order_id": "t"}),
        ("fan", "return", NOW - timedelta(days=5), "tea-b", {}),
        ("fan", "return", NOW - timedelta(days=4), "tea-b", {}),
        ("fan", "coupon_redeem", NOW - timedelta(days=9), None, {"order_id": "t"}),
        ("fan", "coupon_redeem", NOW - timedelta(days=16), None, {}),
    ]
    lines += [
        (
            f"other{day % 20}",
            "purchase",
            datetime(2025, 1, 1, 9 + day % 9, tzinfo=UTC) + timedelta(days=day),
            "tea-a",
            {},
        )
        for day in range(140)
    ]
    lines += [
        ("looker", "view", NOW - timedelta(days=3), "coffee-a", {"duration_s": 900.0}),
        ("looker", "view", NOW - timedelta(days=3, hours=1), "tea-a", {"duration_s": 5.0}),
        ("looker", "view", NOW - timedelta(days=3, hours=2), "tea-b", {"duration_s": 5.0}),
        ("looker", "search", NOW - timedelta(days=2), None, {"query": " Espresso "}),
        ("critic", "review", NOW - timedelta(days=2), "tea-c", {"rating": 1.0}),
        ("critic", "review", NOW - timedelta(days=2), "coffee-c", {"rating": 5.0}),
        ("fan", "purchase", NOW + timedelta(days=1), "tea-c", {"order_id": "future"}),
    ]
    items = [
        (f"{kind}-{size}", f"{kind} {size}", kind, price)
        for kind in ("coffee", "tea")
        for size, price in (("a", 1.0), ("b", 5.0), ("c", 20.0))
    ]
    with readonly.shared(made(tmp_path_factory.mktemp("portrait"), lines, items)) as shop:
        yield shop


def test_a_portrait_says_what_how_dear_and_when(shop):
    found = preference_profile(shop.lake, "fan", NOW)
    assert (
        found["summary"] == "mostly coffee, mid-price, Saturdays, evenings, uses coupons, not tea"
    )
    assert found["categories"] == [{"name": "coffee", "share": 1.0, "shop": round(16 / 156, 3)}]
    assert found["price"] == {"band": "mid-price", "rank": 0.5}
    assert found["weekday"]["share"] > 0.9 > found["weekday"]["shop"]


def test_views_count_by_how_long_they_lasted_and_searches_are_told(shop):
    found = preference_profile(shop.lake, "looker", NOW)
    shares = {one["name"]: one["share"] for one in found["categories"]}
    assert shares["coffee"] == pytest.approx(
        0.5, abs=0.01
    )  # one long look, at most twice a usual one, beside two short
    assert found["searches"] == ["espresso"]
    assert found["price"] is None
    assert found["weekday"] is None


def test_bad_ratings_speak_against_and_good_ones_for(shop):
    found = preference_profile(shop.lake, "critic", NOW)
    assert found["against"][0]["name"] == "tea"
    assert found["summary"] == "mostly coffee, not tea"


def test_who_is_unknown_has_an_empty_portrait(shop):
    found = preference_profile(shop.lake, "nobody", NOW)
    assert (found["summary"], found["events"], found["categories"]) == ("", 0, [])


def test_nothing_at_or_after_the_moment_is_seen(shop):
    later = NOW + timedelta(days=2)
    assert (
        preference_profile(shop.lake, "fan", NOW)["events"]
        == preference_profile(shop.lake, "fan", later)["events"] - 1
    )


def test_a_saturday_is_the_shops_own(shop):
    """Saturday 18:00 UTC is Sunday morning in Auckland."""
    assert (
        preference_profile(shop.lake, "fan", NOW, "Pacific/Auckland")["weekday"]["name"]
        == "Sundays"
    )


def test_a_shop_with_nothing_but_ids_still_has_portraits(tmp_path):
    bare = made(
        tmp_path, [("a", "purchase", NOW - timedelta(days=n), None, {}) for n in range(3)], []
    )
    found = preference_profile(bare.lake, "a", NOW)
    assert found["summary"] == ""
    assert pd.notna(found["coupons"]["discounted"])


def test_a_habit_takes_a_handful_of_orders(shop):
    """Four Saturdays of four would be sure enough by Wilson's bound."""
    after = [
        preference_profile(shop.lake, "fan", SATURDAY + timedelta(weeks=weeks, days=1))
        for weeks in (0, 3, 4)
    ]
    assert [found["weekday"] and found["weekday"]["name"] for found in after] == [
        None,
        None,
        "Saturdays",
    ]
