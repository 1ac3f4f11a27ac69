"""Test the always-valid interim results."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from retention.campaigns.measurement.effects import MIN_BUYERS
from retention.campaigns.measurement.outcomes import Outcomes
from retention.campaigns.measurement.sequential import (
    always_valid,
    daily_matrix,
    effect_scale,
    interim_result,
    mixture_ratio,
    running_effect,
)
from tests.benchmarks.simulate import DAYS, TAU, campaign


def test_mixture_ratio_matches_a_worked_example():
    assert mixture_ratio(0.01, 0.004**2, 0.01) == pytest.approx(5.4929, abs=5e-5)
    assert mixture_ratio(0.0, 0.004**2, 0.01) == pytest.approx(np.sqrt(0.16 / 1.16))
    assert np.isfinite(mixture_ratio(10.0, 1e-9, 0.01))


def test_p_value_never_rises_and_agrees_with_the_interval():
    rng = np.random.default_rng(0)
    for drift in (0.0, 0.3, 0.6):
        differences = drift + np.cumsum(rng.normal(0, 1, 40)) / np.arange(1, 41)
        variance = 1 / np.arange(1, 41)
        p_value, low, high = always_valid(differences, variance, tau=0.5)
        assert (np.diff(p_value) <= 0).all()
        np.testing.assert_array_equal(
            p_value < 0.05, np.logical_or.accumulate((low > 0) | (high < 0))
        )


def test_interval_covers_the_window_effect_of_a_front_loaded_offer():
    """Intersecting with earlier intervals would exclude the true effect."""
    days = np.exp(-np.arange(DAYS) / 3)
    held = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rate, treated = rng.gamma(1.2, 1.0, 1500), rng.random(1500) < 0.85
        extra = rng.poisson(0.5 * days / days.sum(), (1500, DAYS)) * treated[:, None]
        orders = rng.poisson(rate[:, None] / DAYS, (1500, DAYS)) + extra
        before = rng.poisson(rate).astype(float)
        effect = running_effect(orders.astype(float), before, treated, window_days=DAYS, tau=TAU)
        held.append(effect.low <= 0.5 <= effect.high)
    assert np.mean(held) >= 0.95


def test_false_alarm_rate_over_all_looks_stays_below_five_percent():
    rng = np.random.default_rng(1)
    steps = np.arange(1, 201)
    called = sum(
        always_valid(np.cumsum(rng.normal(0, 1, 200)) / steps, 1 / steps, tau=0.3)[0][-1] < 0.05
        for _ in range(1500)
    )
    assert called / 1500 <= 0.05


def test_days_count_once_both_groups_have_enough_buyers():
    drawn = campaign(0, 0.4)

    def effect_of(orders):
        before, treated = drawn.orders_before, drawn.treated
        return running_effect(orders, before, treated, window_days=DAYS, tau=TAU)

    few = effect_of(drawn.orders * (np.cumsum(~drawn.treated) <= MIN_BUYERS - 1)[:, None])
    assert (few.per_customer, few.p_value) == (None, None)
    effect, half = effect_of(drawn.orders), effect_of(drawn.orders[:, :14])
    assert effect.low < effect.per_customer < effect.high
    assert half.high - half.low >= effect.high - effect.low  # later looks only narrow it
    # Told at the pace of the whole window
    assert half.per_customer == pytest.approx(effect.per_customer, abs=0.35)


def test_contact_cost_is_not_extrapolated():
    drawn = campaign(1, 0.4)
    week = (drawn.profit[:, :7], drawn.profit_before, drawn.treated)
    plain, paid = (
        running_effect(*week, window_days=DAYS, tau=1.0, contact_cost=once) for once in (0.0, 0.5)
    )
    assert paid.per_customer == pytest.approx(plain.per_customer - 0.5)
    assert paid.high == pytest.approx(plain.high - 0.5)


def test_p_value_and_interval_of_profit_include_contact_cost():
    """Both must describe the same profit."""
    drawn = campaign(1, 0.4)
    profits = (drawn.profit, drawn.profit_before, drawn.treated)
    gross = running_effect(*profits, window_days=DAYS, tau=1.0)
    assert gross.p_value < 0.05
    assert gross.low > 0
    once = gross.per_customer
    effect = running_effect(*profits, window_days=DAYS, tau=1.0, contact_cost=once)
    assert effect.low < 0 < effect.high
    assert effect.p_value > 0.05


def test_effect_scale_is_the_prior_or_the_detectable_effect():
    assert effect_scale(0.03, 0.04, None) == pytest.approx(0.05)
    assert effect_scale(0.03, 0.04, 0.2) == 0.2


def test_daily_matrix_ignores_later_days():
    rows = pd.DataFrame(
        {"customer_id": ["b", "a", "b", "a"], "day": [0, 1, 0, 5], "orders": [1.0, 1.0, 2.0, 9.0]}
    )
    table = daily_matrix(rows, "orders", pd.Series(["a", "b"]), 3)
    assert table.tolist() == [[0, 1, 0], [3, 0, 0]]


def test_interim_result_reports_a_sample_ratio_mismatch():
    drawn = campaign(2, 0.2, customers=600)
    customer_id = [f"c{n}" for n in range(600)]
    at = np.argwhere(drawn.orders > 0)
    arms = np.where(drawn.treated, "treatment", "control")
    before = {"pre_orders": drawn.orders_before, "pre_profit": drawn.profit_before}
    before["buyers"] = drawn.orders.sum(axis=1) > 0
    customers = {"customer_id": customer_id, "arm": arms, "tier": "high", **before}
    orders = pd.DataFrame({"customer_id": [customer_id[i] for i in at[:, 0]], "day": at[:, 1]})
    profits, treated = orders.assign(profit=drawn.profit[tuple(at.T)]), int(drawn.treated.sum())
    outcomes = Outcomes(pd.DataFrame(customers), orders, profits, 1.0, 2, treated)
    usual = {"day": 20, "days": 28, "planned_share": 0.85}
    usual["scales"] = {"orders": 0.1, "profit": 1.0}
    result = interim_result(outcomes, **usual)
    assert result.sample_ratio.believable
    assert result.effects["orders"].p_value is not None
    assert result.effects["profit"].low < result.effects["profit"].high
    dearer = interim_result(replace(outcomes, contact=0.5), **usual).effects["profit"]
    assert dearer.per_customer == pytest.approx(result.effects["profit"].per_customer - 0.5)
    skewed = interim_result(outcomes, **usual | {"planned_share": 0.5})
    assert not skewed.sample_ratio.believable
    assert interim_result(outcomes, **usual | {"day": 0}).effects == {}
