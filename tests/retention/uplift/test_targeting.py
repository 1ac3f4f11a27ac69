"""Spending a budget: never beyond it, never far from the best there is, which brute force knows for few customers."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.uplift.profit import break_even, expected_cost, incremental_profit, neslin
from retention.uplift.targeting import Limit, choose


def _shop(seed: int, customers: int, offers: int, rounded: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    profit, cost = rng.normal(1, 3, (customers, offers)), rng.gamma(2.0, 1.0, (customers, offers))
    return (profit.round(), cost.round()) if rounded else (profit, cost)


def _best(profit: np.ndarray, limits: list[Limit]) -> float:
    """Every choice there is."""
    options = np.hstack([np.zeros((len(profit), 1)), profit])
    usages = [np.hstack([np.zeros((len(profit), 1)), one.usage]) for one in limits]
    rows = range(len(profit))
    return max(
        sum(options[i, k] for i, k in zip(rows, picks, strict=True))
        for picks in product(range(options.shape[1]), repeat=len(profit))
        if all(
            sum(usage[i, k] for i, k in zip(rows, picks, strict=True)) <= one.most + 1e-9
            for usage, one in zip(usages, limits, strict=True)
        )
    )


def _used(usage: np.ndarray, offer: np.ndarray) -> float:
    given_ = offer >= 0
    return float(usage[np.flatnonzero(given_), offer[given_]].sum())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 3), st.floats(0, 12), st.booleans()
)
def test_one_budget_is_kept_and_misses_less_than_one_offer(
    seed, customers, offers, budget, rounded
):
    profit, cost = _shop(seed, customers, offers, rounded)
    found = choose(profit, [Limit(cost, budget)])
    best = _best(profit, [Limit(cost, budget)])
    assert _used(cost, found.offer) <= budget + 1e-9
    assert found.profit == pytest.approx(_used(profit, found.offer))
    assert found.profit - 1e-9 <= best <= found.bound + 1e-6
    assert best - found.profit < max(profit.max(), 0) + 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_against_brute_force_of_ten_customers(seed):
    profit, cost = _shop(seed, 10, 1, rounded=False)
    limit = Limit(cost, 6.0)
    found = choose(profit, [limit])
    assert _best(profit, [limit]) - found.profit < profit.max()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 10), st.integers(0, 5))
def test_a_budget_and_a_number_of_customers_are_both_kept(seed, budget, most):
    profit, cost = _shop(seed, 5, 2, rounded=False)
    limits = [Limit(np.ones_like(cost), most), Limit(cost, budget)]
    found = choose(profit, limits)
    assert _used(cost, found.offer) <= budget + 1e-9
    assert (found.offer >= 0).sum() <= most
    assert found.profit - 1e-9 <= _best(profit, limits) <= found.bound + 1e-6


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 200), st.floats(0, 200))
def test_more_budget_never_bounds_lower_and_many_customers_come_close_to_the_bound(
    seed, one, other
):
    profit, cost = _shop(seed, 300, 3, rounded=False)
    small, large = (choose(profit, [Limit(cost, budget)]) for budget in sorted((one, other)))
    assert small.bound <= large.bound + 1e-6
    for found in (small, large):
        assert found.bound - found.profit < profit.max() + 1e-6


def test_without_limits_everybody_gets_what_earns_most_and_nobody_what_loses():
    profit = np.array([[1.0, 2.0], [-1.0, -0.1], [-np.inf, 3.0]])
    found = choose(profit)
    assert list(found.offer) == [1, -1, 1]
    assert found.profit == found.bound == 5
    assert list(choose(profit, [Limit(np.ones((3, 2)), 0)]).offer) == [-1, -1, -1]


def test_customers_who_are_all_alike_still_get_what_the_budget_buys():
    profit, cost = np.full((100, 1), 2.0), np.full((100, 1), 1.0)
    assert (choose(profit, [Limit(cost, 37.5)]).offer == 0).sum() == 37


def test_the_profit_of_one_customer_by_hand():
    # p₁ .35, margin 30 of 100, 10 off for half the buyers, .5 for the contact: .35 (30 − 5) − .3 · 30 − .5
    kept = {"discount": 10.0, "redemption": 0.5, "contact": 0.5}
    earned = incremental_profit(
        np.array([0.3]), np.array([0.05]), np.array([100.0]), margin=0.3, **kept
    )
    assert earned == pytest.approx([-0.75])  # a sure thing's discount eats what the uplift brings
    assert expected_cost(np.array([0.3]), np.array([0.05]), **kept) == pytest.approx(
        [0.35 * 5 + 0.5]
    )
    more = incremental_profit(
        np.array([0.3]), np.array([0.15]), np.array([100.0]), margin=0.3, **kept
    )
    assert more == pytest.approx([0.45 * 25 - 9 - 0.5])


def test_neslin_agrees_with_the_worked_value():
    said = {"accepting": 0.3, "value": 200, "offer": 10, "contact": 1}
    assert neslin(customers=1e6, targeted=0.1, churners=0.1, **said) == pytest.approx(-430_000)
    assert break_even(**said) == pytest.approx(11 / 67)
    assert neslin(customers=1e6, targeted=0.1, churners=11 / 67, **said) == pytest.approx(
        0, abs=1e-6
    )
    with pytest.raises(ValueError, match="worth nothing"):
        break_even(accepting=0, value=200, offer=0, contact=1)
