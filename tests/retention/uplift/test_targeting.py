"""Test that allocation respects budgets and comes close to the optimum found by brute force."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retention.uplift.targeting import (
    Allocation,
    Limit,
    allocate_offers,
    expected_cost,
    incremental_profit,
)


def _shop(seed: int, customers: int, offers: int, rounded: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    profit, cost = rng.normal(1, 3, (customers, offers)), rng.gamma(2.0, 1.0, (customers, offers))
    return (profit.round(), cost.round()) if rounded else (profit, cost)


def _best(profit: np.ndarray, limits: list[Limit]) -> float:
    """Return the highest profit of all allocations."""
    options = np.hstack([np.zeros((len(profit), 1)), profit])
    usages = [np.hstack([np.zeros((len(profit), 1)), limit.usage]) for limit in limits]
    rows = range(len(profit))
    return max(
        sum(options[i, k] for i, k in zip(rows, choices, strict=True))
        for choices in product(range(options.shape[1]), repeat=len(profit))
        if all(
            sum(usage[i, k] for i, k in zip(rows, choices, strict=True)) <= limit.maximum + 1e-9
            for usage, limit in zip(usages, limits, strict=True)
        )
    )


def _used(usage: np.ndarray, offer: np.ndarray) -> float:
    has_offer = offer >= 0
    return float(usage[np.flatnonzero(has_offer), offer[has_offer]].sum())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 3), st.floats(0, 12), st.booleans()
)
def test_budget_is_kept_and_gap_is_below_one_offer(seed, customers, offers, budget, rounded):
    profit, cost = _shop(seed, customers, offers, rounded)
    allocation, best = _allocated(profit, Limit(cost, budget))
    assert best - allocation.profit < max(profit.max(), 0) + 1e-6


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 10), st.integers(0, 5))
def test_two_limits_are_both_kept(seed, budget, most):
    profit, cost = _shop(seed, 5, 2, rounded=False)
    _allocated(profit, Limit(np.ones_like(cost), most), Limit(cost, budget))


def _allocated(profit: np.ndarray, *limits: Limit) -> tuple[Allocation, float]:
    """Allocate, check the limits and the bound, and return the best profit, too."""
    allocation, best = allocate_offers(profit, limits), _best(profit, limits)
    for limit in limits:
        assert _used(limit.usage, allocation.offer) <= limit.maximum + 1e-9
    assert allocation.profit == pytest.approx(_used(profit, allocation.offer))
    assert allocation.profit - 1e-9 <= best <= allocation.bound + 1e-6
    return allocation, best


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 200), st.floats(0, 200))
def test_bound_grows_with_budget_and_is_nearly_reached(seed, first_budget, second_budget):
    profit, cost = _shop(seed, 300, 3, rounded=False)
    small, large = (
        allocate_offers(profit, [Limit(cost, budget)])
        for budget in sorted((first_budget, second_budget))
    )
    assert small.bound <= large.bound + 1e-6
    for allocation in (small, large):
        assert allocation.bound - allocation.profit < profit.max() + 1e-6


def test_without_limits_each_customer_gets_the_best_offer_or_none():
    profit = np.array([[1.0, 2.0], [-1.0, -0.1], [-np.inf, 3.0]])
    allocation = allocate_offers(profit)
    assert list(allocation.offer) == [1, -1, 1]
    assert allocation.profit == allocation.bound == 5
    assert list(allocate_offers(profit, [Limit(np.ones((3, 2)), 0)]).offer) == [-1, -1, -1]


def test_identical_customers_use_the_whole_budget():
    profit, cost = np.full((100, 1), 2.0), np.full((100, 1), 1.0)
    assert (allocate_offers(profit, [Limit(cost, 37.5)]).offer == 0).sum() == 37


def test_profit_of_one_customer_matches_hand_calculation():
    # p₁ .35, margin 30 of 100, 10 off for half the buyers, contact .5:
    # .35 (30 − 5) − .3 · 30 − .5
    costs = {"discount": 10.0, "redemption": 0.5, "contact": 0.5}
    stays, value, uplift = np.array([0.3, 0.3]), np.array([100.0, 100.0]), np.array([0.05, 0.15])
    profit = incremental_profit(stays, uplift, value, margin=0.3, **costs)
    # The discount for likely buyers exceeds the gain from the smaller uplift.
    assert profit == pytest.approx([-0.75, 0.45 * 25 - 9 - 0.5])
    cost = expected_cost(stays, uplift, **costs)
    assert cost == pytest.approx([0.35 * 5 + 0.5, 0.45 * 5 + 0.5])
