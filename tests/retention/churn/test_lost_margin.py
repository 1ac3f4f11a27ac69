"""Test the expected lost margin, by which lists are ordered."""

import numpy as np
import pandas as pd
import pytest

from retention.churn.lost_margin import (
    derived_tiers,
    list_columns,
    list_size,
    lost_spend,
    return_chance,
    usual_spend,
)
from retention.churn.population import buyers
from retention.window import Window

HORIZON = 28


def _columns(lake, at):
    people = buyers(lake, at, window=Window(HORIZON, None))
    chance = return_chance(people, HORIZON)
    columns = {"customer_id": people.frame.customer_id, **list_columns(people, chance, HORIZON)}
    return pd.DataFrame(columns)


def test_later_orders_change_nothing(shop, truncated, learned_at):
    past = _columns(truncated, learned_at)
    pd.testing.assert_frame_equal(past, _columns(shop.lake, learned_at))


def test_lost_spend_lies_between_zero_and_the_usual_spend_of_a_sure_leaver(shop):
    people = buyers(shop.lake, shop.end, window=Window(HORIZON, None))
    usual = usual_spend(people, HORIZON)
    none, some, all_ = (
        list_columns(people, np.full(len(usual), chance), HORIZON)["lost_spend"]
        for chance in (0.0, 0.3, 1.0)
    )
    assert none == pytest.approx(usual)
    for lost in (some, all_):
        assert (lost >= 0).all()
        assert (lost <= usual).all()
    assert lost_spend(usual, usual).max() == 0


@pytest.mark.parametrize("scored", [0, 1, 9, 10, 66, 67, 333, 334, 2_500, 25_000, 1_000_000])
def test_list_size_keeps_its_limits(scored):
    size = list_size(scored)
    assert size <= min(scored, 500)
    assert size <= max(0.15 * scored, 10)
    assert size == scored or size >= 10


def test_stated_list_size_is_at_most_all_customers():
    assert [list_size(100, 120), list_size(4_000, 120)] == [100, 120]


@pytest.mark.parametrize("stated", [None, 300])
def test_derived_tiers_follow_the_mean_and_the_size_of_a_list(stated):
    chances = np.random.default_rng(0).beta(2, 5, 4_000)
    tiers = derived_tiers(chances, stated)
    assert tiers["medium"] == pytest.approx(chances.mean(), abs=1e-4)
    assert (chances >= tiers["high"]).sum() == pytest.approx(list_size(4_000, stated), abs=2)


@pytest.mark.parametrize("chances", [[0.9995] * 30, [0.0005] * 30, [0.95] * 60 + [0.1], [0.3]])
def test_derived_tiers_are_thresholds_of_a_policy(chances):
    tiers = derived_tiers(np.array(chances))
    assert 0 < tiers["medium"] < tiers["high"] < 1
