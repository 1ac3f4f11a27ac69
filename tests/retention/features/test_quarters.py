"""Tests of order days per quarter of H."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from retention.churn.snapshots import take_snapshot
from retention.features import quarters
from retention.window import Window
from tests import shops
from tests.retention.recommend.small_shop import make_shop

CUTOFF = datetime(2024, 9, 1, tzinfo=UTC)
AGES = {  # days before the cutoff
    "weekly": [1, 8, 15, 22],
    "twice": [0.5, 0.6, 3.2, 30],  # two orders on one day are one day
    "often": [0.5, 1.5, 2.5, 3.5, 4.5, 5.5],
    "old": [7 * 59 + 1, 7 * 70],
    "ahead": [10, -0.1, -5],
}


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    lines = [
        (customer, "purchase", CUTOFF - timedelta(days=age), "i1", {"order_id": f"{customer}{age}"})
        for customer, ages in AGES.items()
        for age in ages
    ]
    lake = make_shop(tmp_path_factory.mktemp("quarters"), lines, []).lake
    names = pd.Series(sorted(AGES))
    counts, begun = quarters.order_day_counts(lake, CUTOFF, names, horizon_days=28)
    return {name: (counts[place], begun[place]) for place, name in enumerate(names)}


def test_counts_order_days_per_quarter_before_the_cutoff(counted):
    assert counted["weekly"][0][-5:].tolist() == [0, 1, 1, 1, 1]
    assert counted["twice"][0][-5:].tolist() == [1, 0, 0, 0, 2]
    assert counted["often"][0][-1] == quarters.MAX_COUNT
    # The 60th quarter back is the oldest that is looked at
    assert counted["old"][0][:2].tolist() == [1, 0]
    assert [counted[name][1] for name in ("weekly", "twice", "often", "old")] == [56, 55, 59, 0]


def test_ignores_orders_at_or_after_the_cutoff(counted):
    counts, begun = counted["ahead"]
    assert counts.sum() == counts[begun] == 1


def test_buying_states_ignore_later_orders(tmp_path):
    orders = shops.groceries(customers=120, days=330)
    cutoff = shops.end(250)
    before = orders[orders.occurred_at < pd.Timestamp(cutoff)]
    frames = [
        take_snapshot(
            shops.lake(tmp_path / name, some), cutoff, window=Window(28, 56), labelled=False
        ).frame
        for name, some in (("all", orders), ("before", before))
    ]
    for name in ("states_no_purchase", "states_later"):
        np.testing.assert_array_equal(frames[0][name], frames[1][name])
        assert frames[0][name].nunique() > 50
