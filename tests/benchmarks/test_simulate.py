"""Each promise of ``make simulate`` in small: fewer campaigns, so wider margins."""

import numpy as np
import pytest

from tests.benchmarks import simulate

pytestmark = pytest.mark.nightly


def test_the_generator_knows_its_own_truth():
    drawn = simulate.campaign(0, 0.2, customers=200_000, days=2)
    orders = drawn.orders.sum(axis=1)
    assert orders[drawn.treated].mean() - orders[~drawn.treated].mean() == pytest.approx(
        0.2, abs=0.015
    )
    profit = drawn.profit.sum(axis=1)
    assert profit[drawn.treated].mean() - profit[~drawn.treated].mean() == pytest.approx(
        0.2 * 0.3 * 32, abs=0.2
    )
    people = simulate.customers(np.random.default_rng(0), 50_000, 0.01)
    trial = simulate.past(np.random.default_rng(1), 50_000, 0.01)
    rates = [trial.outcome[trial.treated == arm].mean() for arm in (0, 1)]
    assert rates[0] == pytest.approx(people.stays.mean(), abs=0.02)
    assert rates[1] - rates[0] == pytest.approx(people.uplift.mean(), abs=0.02)


def test_intervals_cover_and_nothing_is_called_where_nothing_is():
    covered = simulate.coverage(200)
    assert all(0.91 <= share <= 0.99 for share in covered.values())
    called = simulate.false_calls(120)
    assert called["end"] <= 0.10
    assert called["looking"] <= 0.05


def test_cuped_shrinks_as_its_correlation_predicts():
    shrunk = simulate.cuped(300)
    assert shrunk["measured"] == pytest.approx(shrunk["predicted"], rel=0.2)
    assert shrunk["predicted"] < 0.95


def test_targeting_by_profit_beats_risk_and_comes_near_the_oracle():
    found = simulate.targeting(8, "effect_modelling")
    assert found["beats_risk"] == 1.0
    assert 0.85 < found["of_oracle"] < 1
    assert found["risk_of_oracle"] < found["of_oracle"]
