"""Test the expected lost margin, by which lists are ordered."""

from datetime import timedelta

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
from tests import shop as tiny

HORIZON = 28


def _columns(lake, at):
    people = buyers(lake, at, window=Window(HORIZON, None))
    chance = return_chance(people, HORIZON)
    columns = {"customer_id": people.frame.customer_id, **list_columns(people, chance, HORIZON)}
    return pd.DataFrame(columns)


def test_later_orders_change_nothing(shop, tmp_path):
    at = shop.begin + timedelta(days=120)
    past = tiny.build(tmp_path / "past", until=at)
    pd.testing.assert_frame_equal(_columns(past.lake, at), _columns(shop.lake, at))


def test_lost_spend_is_not_negative_and_at_most_the_usual_spend(shop):
    people = buyers(shop.lake, shop.end, window=Window(HORIZON, None))
    usual = usual_spend(people, HORIZON)
    for chance in (0.0, 0.3, 1.0):
        lost = list_columns(people, np.full(len(usual), chance), HORIZON)["lost_spend"]
        assert (lost >= 0).all()
        assert (lost <= usual).all()
    assert lost_spend(usual, usual).max() == 0


def test_customer_who_surely_leaves_loses_all_of_the_usual_spend(shop):
    people = buyers(shop.lake, shop.end, window=Window(HORIZON, None))
    lost = list_columns(people, np.zeros(len(people.frame)), HORIZON)["lost_spend"]
    assert lost == pytest.approx(usual_spend(people, HORIZON))


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
