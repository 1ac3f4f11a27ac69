"""Test the comparison of variants."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from retention.campaigns.measurement.variants import METRICS, compare, critical_value

DAYS, CUSTOMERS = 14, 400


def _outcomes(rng, lifts, days=DAYS, customers=CUSTOMERS):
    """Orders of customers with rates of their own; each variant multiplies them."""
    names = [chr(65 + number) for number in range(len(lifts))]
    ids = [f"c{number:04d}" for number in range(customers * len(lifts))]
    variant = np.repeat(names, customers)
    rate = rng.gamma(2.0, 0.02, len(ids))
    daily = rng.poisson(np.outer(rate * np.repeat(lifts, customers), np.ones(days)))
    value = rng.gamma(4.0, 2.0, len(ids))
    customer, day = np.nonzero(daily)
    times = daily[customer, day]
    orders = pd.DataFrame({"customer_id": np.array(ids)[customer], "day": day}).loc[
        np.repeat(np.arange(len(customer)), times)
    ]
    profits = orders.assign(profit=np.repeat(value[customer], times))
    before = rng.poisson(rate * days)
    table = pd.DataFrame({"customer_id": ids, "pre_orders": before, "pre_profit": before * value})
    outcomes = SimpleNamespace(customers=table, orders=orders, profits=profits)
    mean = 2 * 0.02 * np.array(lifts)
    return outcomes, dict(zip(ids, variant, strict=True)), dict(zip(names, mean, strict=True))


def test_interval_of_one_look_at_two_variants_is_the_usual_one():
    assert critical_value(1, 2) == pytest.approx(1.96, abs=0.02)
    # Pocock 1977: the constant of 5 looks
    assert critical_value(5, 2) == pytest.approx(2.413, abs=0.02)
    assert critical_value(1, 3) == pytest.approx(2.344, abs=0.02)  # studentized range / √2


def test_clear_winner_is_named_and_figures_add_up():
    outcomes, variants, _ = _outcomes(np.random.default_rng(1), (1.0, 2.0, 1.0))
    result = compare(outcomes, variants, day=DAYS, days=DAYS, metric="orders")
    assert result.winner == "B"
    assert [each.name for each in result.variants] == ["A", "B", "C"]
    assert sum(each.orders * each.customers for each in result.variants) == pytest.approx(
        len(outcomes.orders)
    )
    assert len(result.contrasts) == len(METRICS) * 3


def test_too_few_buyers_are_not_compared():
    outcomes, variants, _ = _outcomes(np.random.default_rng(1), (1.0, 9.0), customers=8)
    result = compare(outcomes, variants, day=DAYS, days=DAYS, metric="orders")
    assert (result.has_enough, result.contrasts, result.winner) == (False, (), None)


def test_orders_after_the_day_change_nothing():
    outcomes, variants, _ = _outcomes(np.random.default_rng(1), (1.0, 1.5))
    now = compare(outcomes, variants, day=7, days=DAYS, metric="profit")
    later = outcomes.orders.assign(day=outcomes.orders["day"] + 7)
    more = SimpleNamespace(
        customers=outcomes.customers,
        orders=pd.concat([outcomes.orders, later]),
        profits=pd.concat([outcomes.profits, later.assign(profit=5.0)]),
    )
    assert compare(more, variants, day=7, days=DAYS, metric="profit") == now


def _daily(number, lifts):
    """Whether the intervals of every day cover the truth, and whether a day names a winner."""
    outcomes, variants, rate = _outcomes(np.random.default_rng([30, number]), lifts)
    covers, winners = True, set()
    for day in range(1, DAYS + 1):
        result = compare(outcomes, variants, day=day, days=DAYS, metric="orders")
        winners.add(result.winner)
        for one in result.contrasts:
            truth = day * (rate[one.first] - rate[one.second])
            covers &= one.metric != "orders" or one.low <= truth <= one.high
    return covers, winners - {None}


@pytest.mark.nightly
@pytest.mark.parametrize("lifts", [(1.0, 1.0), (1.0, 1.4)], ids=["no effect", "an effect"])
def test_intervals_of_500_tests_looked_at_every_day_cover_the_truth(lifts):
    done = [_daily(number, lifts) for number in range(500)]
    coverage = np.mean([covers for covers, _ in done])
    assert 0.93 <= coverage <= 0.97
    if len(set(lifts)) == 1:
        assert np.mean([bool(winners) for _, winners in done]) <= 0.05
