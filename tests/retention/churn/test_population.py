"""Test the customers to score."""

import pandas as pd
import pytest

from retention.churn.population import (
    BUYER_FEATURES,
    buyers,
    expected_spend,
    next_order,
    population,
)
from retention.window import Window


@pytest.mark.parametrize("active_within_days", [42, None])
def test_buyers_for_rules_agree_with_the_population_for_a_model(shop, active_within_days):
    window = Window(21, active_within_days)
    few = buyers(shop.lake, shop.end, window=window)
    every = population(shop.lake, shop.end, window=window)
    columns = ["customer_id", *BUYER_FEATURES]
    pd.testing.assert_frame_equal(few.frame[columns], every.frame[columns])
    assert few.buyers == every.buyers
    assert few.purchases == every.purchases
    assert few.spend == every.spend
    assert expected_spend(few, 21).tolist() == expected_spend(every, 21).tolist()
    pd.testing.assert_series_equal(next_order(few), next_order(every))
