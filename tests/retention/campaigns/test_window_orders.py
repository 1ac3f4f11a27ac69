"""Forecast orders of a campaign's window from scores of a longer horizon."""

import pandas as pd
import pytest

from retention.campaigns.planning.targeting import orders_in_window, with_window
from retention.churn.population import buyers
from retention.window import Window

WINDOW, HORIZON = 28, 365


@pytest.fixture
def scores(shop):
    people = buyers(shop.lake, shop.end, window=Window(HORIZON, None))
    return pd.DataFrame(
        {
            "customer_id": people.frame.customer_id,
            "order_days": people.frame.order_days,
            "churn_probability": 0.4,
            "expected_value": 100.0,
        }
    )


def test_spend_of_all_buyers_is_proportional_to_the_time(shop, scores):
    chance, spend = orders_in_window(with_window(shop.lake, scores, shop.end, HORIZON, WINDOW))
    assert chance * spend == pytest.approx(60 * WINDOW / HORIZON)
    assert chance.max() <= 0.6
    assert spend.max() <= 100


def test_frequent_customers_buy_within_the_window_and_rare_ones_spend_as_much(shop, scores):
    windowed = with_window(shop.lake, scores, shop.end, HORIZON, WINDOW)
    chance, spend = orders_in_window(windowed)
    often, rarely = scores.order_days.argmax(), scores.order_days.argmin()
    assert chance[often] > 0.9 * 0.6
    assert chance[rarely] < chance[often]
    assert spend[rarely] > spend[often]


@pytest.mark.parametrize("horizon", [21, WINDOW])
def test_scores_of_a_horizon_within_the_window_stay_as_they_are(shop, scores, horizon):
    assert with_window(shop.lake, scores, shop.end, horizon, WINDOW) is scores
    chance, spend = orders_in_window(scores)
    assert (set(chance), set(spend)) == ({0.6}, {100.0})


def test_customers_without_orders_have_a_share_of_the_time(shop):
    unknown = pd.DataFrame(
        {"customer_id": ["nobody"], "churn_probability": [0.4], "expected_value": [100.0]}
    )
    windowed = with_window(shop.lake, unknown, shop.end, HORIZON, WINDOW)
    (chance,), (spend,) = orders_in_window(windowed)
    assert chance == pytest.approx(0.6 * WINDOW / HORIZON)
    assert spend == pytest.approx(100)
