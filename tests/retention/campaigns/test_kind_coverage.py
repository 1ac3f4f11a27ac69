"""Test the intervals of results on simulated campaigns of each kind, with known effects."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from retention.campaigns.measurement.effects import measure
from retention.risk.strategy import KINDS

CUSTOMERS, HOLDOUT, MARGIN, VALUE = 3_000, 0.15, 0.3, 40.0
CAMPAIGNS = 1_000
# Orders in the window without the campaign, extra orders by it, and the discount of a code.
WORLDS = {
    "win_back": (0.2, 0.05, 0.15),
    "product_news": (0.4, 0.02, 0.0),
    "cross_sell": (0.4, 0.03, 0.0),
    "second_order": (0.1, 0.03, 0.1),
    "thank_you": (0.9, 0.01, 0.0),
    "no_offer": (0.3, 0.0, 0.0),
}


def _outcomes(rng, rate, effect, discount):
    """Orders of customers with rates of their own, before and in the window."""
    own = rng.gamma(2.0, rate / 2, CUSTOMERS)
    treated = rng.permutation(CUSTOMERS) >= HOLDOUT * CUSTOMERS
    orders = rng.poisson(own) + treated * rng.binomial(1, effect, CUSTOMERS)
    before = rng.poisson(own)
    value = rng.gamma(4.0, VALUE / 4, CUSTOMERS)
    used = treated * (orders > 0) * (rng.random(CUSTOMERS) < 0.3)
    table = pd.DataFrame(
        {
            "arm": np.where(treated, "treatment", "control"),
            "buyers": (orders > 0).astype(float),
            "orders": orders.astype(float),
            "profit": MARGIN * value * orders - discount * value * used - 0.02 * treated,
            "pre_buyers": (before > 0).astype(float),
            "pre_orders": before.astype(float),
            "pre_profit": MARGIN * value * before,
        }
    )
    return SimpleNamespace(customers=table, cost=1.0, redeemed=0)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
def test_intervals_of_campaigns_of_each_kind_cover_the_truth(kind):
    rate, effect, discount = WORLDS[kind]
    # Of those who order, by a gamma mixture of Poisson rates
    ordering = 1 - (1 - effect) * (1 + rate / 2) ** -2
    truth = {
        "orders": effect,
        "profit": MARGIN * VALUE * effect - 0.3 * discount * VALUE * ordering - 0.02,
    }
    covered = dict.fromkeys(truth, 0)
    for number in range(CAMPAIGNS):
        rng = np.random.default_rng([33, KINDS.index(kind), number])
        counted = _outcomes(rng, rate, effect, discount)
        metrics = ("buyers", "orders", "profit")
        effects = measure(counted, planned_share=1 - HOLDOUT, metrics=metrics).effects
        for name, value in truth.items():
            covered[name] += effects[name].low <= value <= effects[name].high
    for name, number in covered.items():
        assert 0.93 <= number / CAMPAIGNS <= 0.97, name
