"""Histories weigh, total and decay events by the shop's clock, without data leakage."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from retention.recommend import recommend
from retention.recommend.event_weights import apply_weights, learn_weights
from retention.recommend.history import (
    CART,
    UNRATED,
    VIEW,
    WEIGHTS,
    History,
    RatingScale,
    bought_between,
    buyers,
    pairs,
    rating_scale,
    read,
)
from retention.recommend.preference_profile import preference_profile
from tests.retention.recommend.small_shop import Line, SmallShop, add_events, make_shop, preferences

CUTOFF = datetime(2025, 3, 1, tzinfo=UTC)
START, END = 100, 128  # days of the simulated history
ITEMS = [("tea", "Tea", "Teas", 9.0), ("soap", "Soap", "Soaps", 9.0)]


def event(day: float, item="i1", who="c1", kind="purchase", **more) -> Line:
    """Return an event some days before the cutoff."""
    return who, kind, CUTOFF - timedelta(days=day), item, more


def review(who: str, item: str, rating: float | None) -> Line:
    return event(1, item, who, "review", rating=rating)


@pytest.fixture
def liked(tmp_path):
    """Return the preferences that follow from some events, by item."""

    def of(*events: Line) -> pd.DataFrame:
        shop = make_shop(tmp_path, events, [])
        return preferences(shop.lake, CUTOFF).set_index("item_id")

    return of


def test_purchase_halves_in_a_half_life_and_its_gap_is_between_days(liked):
    same_day = event(70, "i2", order_id="same-day")
    lines = liked(event(30), event(22, "i2"), event(46, "i2"), event(70, "i2"), same_day)
    once, often = lines.loc["i1"], lines.loc["i2"]
    assert (once.decayed_30, once.decayed_90) == pytest.approx((0.5, 0.5 ** (1 / 3)))
    assert (often.purchase_days, often.gap_days, often.days_since_purchase) == (3, 24, 22)


def test_kinds_of_events_are_weighed(liked):
    kinds = ("purchase", "cart", "view", "return")
    rated = [
        event(1, "bad", kind="review", rating=1.0),
        event(1, "good", kind="review", rating=5.0),
    ]
    both = [event(1, "both"), event(1, "both", kind="return")]
    without = [event(2, None), event(3, "other", kind="support")]
    weight = liked(*(event(1, kind, kind=kind) for kind in kinds), *rated, *both, *without)
    weight = weight.decayed_90
    assert weight["both"] == pytest.approx(0)
    assert weight["purchase"] > weight["cart"] > weight["view"] > 0 > weight["return"]
    assert weight["bad"] < 0 < weight["good"]
    assert "other" not in weight


def test_reads_only_the_given_customers(tmp_path):
    lake = make_shop(tmp_path, [event(1), event(1, who="c2")], []).lake
    assert preferences(lake, CUTOFF, ["c2", "nobody"])["customer_id"].tolist() == ["c2"]


def test_events_after_cutoff_or_known_later_are_not_read(tmp_path):
    shop = make_shop(tmp_path, [event(5)], [])
    before = preferences(shop.lake, CUTOFF), buyers(shop.lake, CUTOFF)
    late = {"available_at": CUTOFF + timedelta(days=3)}
    add_events(shop, [event(0), event(-1), event(9, "i7", **late)])
    pd.testing.assert_frame_equal(preferences(shop.lake, CUTOFF), before[0])
    assert buyers(shop.lake, CUTOFF) == before[1] == {"i1": 1}


def test_window_is_half_open_and_counts_what_is_known_later(tmp_path):
    late = {"available_at": CUTOFF + timedelta(days=3)}
    events = [event(10), event(0, "i2"), event(11, "i3"), event(2, "i4", **late)]
    lake = make_shop(tmp_path, events, []).lake
    window = bought_between(lake, CUTOFF - timedelta(days=10), CUTOFF)
    assert list(window.item_id) == ["i1", "i4"]


def test_buyers_are_customers_not_purchases(tmp_path):
    events = [event(1), event(2), event(3, who="c2"), event(50, who="c3")]
    lake = make_shop(tmp_path, events, []).lake
    assert buyers(lake, CUTOFF, timedelta(days=28)) == {"i1": 2}
    assert buyers(lake, CUTOFF) == {"i1": 3}


@pytest.mark.nightly_after(5)
@pytest.mark.parametrize(
    ("ratings", "expected"),
    [
        ((1, 3, 5), RatingScale(1, 5)),
        ((2, 4), RatingScale(1, 5)),
        ((), RatingScale(1, 5)),
        ((1, 5, 10), RatingScale(1, 10)),
        ((0, 50, 100), RatingScale(0, 100)),
        ((0, 1, 1), RatingScale(0, 1)),
        ((-1, 1), RatingScale(-1, 1)),
        ((*(1, 2, 3, 4, 5) * 60, 50), RatingScale(1, 5)),
        ((1,) * 30, RatingScale(0, 1)),
        ((*(1,) * 150, 0), RatingScale(0, 1)),
        ((1, 1), RatingScale(1, 5)),
    ],
)
def test_scale_is_inferred_from_ratings(tmp_path, ratings, expected):
    lines = [event(400, rating=None)]
    lines += [
        event(1 + at / 100, who=f"c{at}", kind="review", rating=float(rating))
        for at, rating in enumerate(ratings)
    ]
    lake = make_shop(tmp_path, lines, []).lake
    assert rating_scale(lake, CUTOFF) == expected
    # What comes later is not known yet.
    assert rating_scale(lake, CUTOFF - timedelta(days=100)) == RatingScale()


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("scores", [(1, 5), (1, 10), (0, 100), (0, 1)])
def test_worst_rating_is_negative_and_best_positive_on_every_scale(tmp_path, scores):
    """A thumb up weighed less than nothing, and 4 of 10 more than most purchases."""
    worst, best = map(float, scores)
    lines = [
        line for who in "xy" for line in (review(who, "tea", worst), review(who, "soap", best))
    ]
    lake = make_shop(tmp_path, lines, ITEMS).lake
    decayed = preferences(lake, CUTOFF, ["x"]).set_index("item_id")["decayed_90"]
    assert decayed.to_dict() == pytest.approx({"tea": -1, "soap": 1}, rel=0.02)
    assert preference_profile(lake, "x", CUTOFF)["summary"] == "mostly Soaps, not Teas"


def test_mistyped_rating_is_clipped_to_the_best(tmp_path):
    """A 50 on a scale of five stars weighed as much as 24 purchases."""
    lines = [review(f"c{at}", "tea", at % 5 + 1.0) for at in range(200)]
    lines += [review("x", "tea", 50.0), review("x", "soap", None)]
    lake = make_shop(tmp_path, lines, ITEMS).lake
    decayed = preferences(lake, CUTOFF, ["x"]).set_index("item_id")["decayed_90"]
    assert decayed.to_dict() == pytest.approx({"tea": 1, "soap": UNRATED}, rel=0.02)
    main = preference_profile(lake, "x", CUTOFF)["categories"][0]
    assert main["share"] == pytest.approx(0.8, rel=0.02)


def shop_in(zone: str, home: Path, bought: datetime) -> SmallShop:
    """Build a shop with one purchase."""
    return make_shop(home, [("c", "purchase", bought, "tea", {})], ITEMS, timezone=zone)


def reason(shop: SmallShop, at: datetime) -> str:
    return recommend(None, shop.lake, ["c"], k=1, as_of=at)["c"][0].why


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
    # also from what a warm worker keeps
    assert [reason(shop, to) for _ in range(3)] == [f"bought once, last {ago}"] * 3
    history = read(shop.lake, to)
    assert history.moment(history.at(to)) == to
    assert int(history.at(to)) - history.day[0] == (ago == "yesterday")


@pytest.mark.nightly_after(2)
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
    shop = shop_in("Europe/London", tmp_path, datetime(2025, 10, 24, 23, 30, tzinfo=UTC))
    for _ in range(3):
        reason(shop, datetime(2025, 11, 3, 12, tzinfo=UTC))
    reasons = [reason(shop, datetime(2025, 10, 25, 12, tzinfo=UTC)) for _ in range(3)]
    assert reasons == ["bought once, last today"] * 3


def history(
    *, cart: float, view: float, customers: int = 400, items: int = 12, seed: int = 4
) -> History:
    """Simulate 100 days of events, then purchases with given chances."""
    rng = np.random.default_rng(seed)
    customer, item = (
        grid.ravel() for grid in np.meshgrid(np.arange(customers), np.arange(items), indexing="ij")
    )
    kind = rng.integers(0, 4, len(customer))  # purchase, cart, view, nothing
    chance = np.array([0.4, 0.4 * cart, 0.4 * view, 0.02])[kind]
    later = rng.random(len(customer)) < chance
    before = kind < 3
    names = (
        np.array([f"{letter}{number:04d}" for number in range(count)], dtype=object)
        for letter, count in (("c", customers), ("i", items))
    )
    day = np.r_[np.full(before.sum(), START - 1), np.full(later.sum(), START + 9)]
    counts = [
        np.r_[(kind == number)[before], np.full(later.sum(), number == 0)].astype(np.int32)
        for number in range(3)
    ]
    weight = counts[0] + WEIGHTS[CART] * counts[1] + WEIGHTS[VIEW] * counts[2]
    lines = [np.r_[each[before], each[later]] for each in (customer, item)] + [day, day]
    money = np.ones(len(day), dtype=np.float32)
    integers = (line.astype(np.int32) for line in lines)
    unsorted = History(*names, *integers, weight, *counts, money, money)
    return unsorted.where(np.lexsort([day, *lines[1::-1]]))


@pytest.mark.parametrize(("cart", "view"), [(0.8, 0.05), (0.3, 0.5)])
def test_weights_match_the_simulated_purchase_chances(cart, view):
    weights = learn_weights(history(cart=cart, view=view), START, END)
    assert weights[CART] == pytest.approx(cart, abs=0.12)
    assert weights[VIEW] == pytest.approx(view, abs=0.12)


def test_apply_weights_replaces_default_weights():
    seen = history(cart=0.8, view=0.05)
    anew = pairs(apply_weights(seen, {CART: 0.8, VIEW: 0.0}), START + 1.0)
    was = pairs(seen, START + 1.0)
    carted = (was.carts > 0) & (was.days == 0)
    np.testing.assert_allclose(anew.faded[90][carted] / was.faded[90][carted], 0.8 / WEIGHTS[CART])
    assert (anew.faded[90][(was.views > 0) & (was.days == 0)] == 0).all()
    assert apply_weights(seen, {}) is seen


def test_later_events_do_not_change_weights():
    seen = history(cart=0.8, view=0.05)
    late = seen.where(np.ones(len(seen.day), dtype=bool))
    late.day[late.day >= START] += 40  # bought after the window
    assert learn_weights(late.before(END), START, END) == {}
    assert learn_weights(seen, START, END) == learn_weights(seen.before(END), START, END)


def test_too_few_pairs_keep_default_weights():
    assert learn_weights(history(cart=0.8, view=0.1, customers=20), START, END) == {}
    assert learn_weights(history(cart=0.8, view=0.1), 0, 28) == {}
