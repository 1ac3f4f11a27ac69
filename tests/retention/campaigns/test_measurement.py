"""Test the measurement on simulated campaigns with a known effect."""

import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from retention.campaigns.measurement.chart import draw_chart
from retention.campaigns.measurement.effects import advise, difference, measure, sample_ratio
from retention.campaigns.measurement.outcomes import METRICS, Outcomes

LIFT = 0.08


def _simulated(
    seed: int, customers: int = 800, lift: float = LIFT, holdout: float = 0.15
) -> Outcomes:
    """Simulate customers with different order rates; the offer adds ``lift`` orders each."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(1.5, 0.6, customers)
    table = pd.DataFrame(
        {
            "customer_id": [f"c{n}" for n in range(customers)],
            "tier": rng.choice(["high", "medium"], customers),
        }
    )
    treated = rng.permutation(customers) >= round(holdout * customers)
    table["arm"] = np.where(treated, "treatment", "control")
    for prefix, extra in (("pre_", 0.0), ("", lift)):
        orders = rng.poisson(rate) + rng.binomial(1, extra, customers) * treated
        basket = rng.gamma(4.0, 8.0, customers)
        table[f"{prefix}orders"] = orders.astype(float)
        table[f"{prefix}buyers"] = (orders > 0).astype(float)
        table[f"{prefix}revenue"] = orders * basket
        table[f"{prefix}profit"] = 0.3 * orders * basket
    return Outcomes(
        table,
        pd.DataFrame({"customer_id": ["c0", "c1"], "day": [0, 3]}),
        pd.DataFrame({"customer_id": ["c0"], "day": [0], "profit": [3.0]}),
        40.0,
        9,
        int(treated.sum()),
    )


def _measure(outcomes: Outcomes, planned_share: float = 0.85, segmented: tuple[str, ...] = ()):
    return measure(outcomes, planned_share=planned_share, metrics=METRICS, segmented=segmented)


def _difference(now, before, treated):
    return difference(now[treated], now[~treated], before[treated], before[~treated])


def _orders_effect(seed: int, lift: float):
    table = _simulated(seed, lift=lift).customers
    treated = (table["arm"] == "treatment").to_numpy()
    return _difference(table["orders"].to_numpy(), table["pre_orders"].to_numpy(), treated)


@pytest.mark.nightly
def test_interval_has_its_nominal_coverage():
    effects = [_orders_effect(seed, LIFT) for seed in range(400)]
    covered = sum(effect.low <= LIFT <= effect.high for effect in effects) / len(effects)
    assert 0.92 <= covered <= 0.98  # 2.7 standard errors of 400 draws around 95 %
    assert np.mean([effect.per_customer for effect in effects]) == pytest.approx(LIFT, abs=0.02)


@pytest.mark.nightly
def test_false_positive_rate_is_about_five_percent():
    effects = [_orders_effect(seed, 0.0) for seed in range(1000, 1300)]
    assert sum(not effect.low <= 0 <= effect.high for effect in effects) / len(effects) <= 0.09


# σ of log baskets; by Welch's interval 7 and 10 % were gains
@pytest.mark.parametrize("tail", [1.2, 1.8])
def test_small_hold_out_without_large_baskets_gives_no_false_gain(tail):
    covered, gains, runs = 0, 0, 600
    for seed in range(runs):
        rng = np.random.default_rng([20, seed])
        rate, treated = rng.gamma(1.2, 0.25, 1500), np.arange(1500) >= 225
        now, before = (
            np.bincount(np.arange(1500).repeat(orders), rng.lognormal(3, tail, orders.sum()), 1500)
            for orders in (rng.poisson(rate), rng.poisson(rate))
        )
        effect = _difference(now, before, treated)
        covered += effect.low <= 0 <= effect.high
        gains += effect.low > 0
    assert 0.93 <= covered / runs <= 0.985
    assert gains / runs <= 0.045


def test_cuped_reduces_the_variance_by_the_squared_correlation():
    rng = np.random.default_rng(1)
    before = rng.normal(0, 1, 20_000)
    now = 0.8 * before + rng.normal(0, 0.6, 20_000)  # correlation .8
    effect = difference(now[:17_000], now[17_000:], before[:17_000], before[17_000:])
    plain = difference(now[:17_000], now[17_000:], np.zeros(17_000), np.zeros(3_000))
    assert effect.variance_cut == pytest.approx(0.64, abs=0.02)
    assert (effect.standard_error / plain.standard_error) ** 2 == pytest.approx(1 - 0.64, abs=0.03)
    assert plain.variance_cut == pytest.approx(0, abs=1e-12)


def test_sample_ratio_check_matches_a_worked_example():
    checked = sample_ratio(821_588, 815_482, 0.5)
    assert checked.p_value == pytest.approx(1.82e-6, rel=5e-3)
    assert not checked.believable
    assert sample_ratio(850, 150, 0.85).p_value == 1.0


def test_sample_ratio_mismatch_overrides_the_advice():
    assert _measure(_simulated(3), 0.5).advice == "unbelievable"


def test_total_effect_is_per_customer_times_treated():
    measured = _measure(_simulated(5))
    effect = measured.effects["revenue"]
    assert effect.total == pytest.approx(effect.per_customer * measured.sample_ratio.treated)
    assert effect.low < effect.per_customer < effect.high


def test_segments_have_intervals_unless_too_small():
    outcomes = _simulated(5, customers=4000)
    table, rng = outcomes.customers, np.random.default_rng(0)
    table["reason"] = rng.choice(
        ["recency", "spend", "trend", "breadth", "other"], 4000, p=[0.6, 0.29, 0.07, 0.03, 0.01]
    )
    table["value"] = "low"
    moved = ((table["reason"] == "spend") & (table["arm"] == "treatment")).to_numpy()
    table.loc[moved, "buyers"] = 1.0
    measured = _measure(outcomes, segmented=("tier", "value", "reason", "gone"))
    # All are of one value, and nobody knows of the fourth
    assert set(measured.segments) == {"tier", "reason"}
    assert {segment.name for segment in measured.segments["tier"]} == {"high", "medium"}
    reasons = measured.segments["reason"]
    assert [segment.name for segment in reasons] == ["recency", "spend", "trend", "breadth"]
    assert [segment.effect is None for segment in reasons] == [False, False, False, True]
    assert all(
        segment.treated + segment.control == (table["reason"] == segment.name).sum()
        for segment in reasons
    )
    assert reasons[1].effect.low > reasons[0].effect.high
    _, width, channels = imread(io.BytesIO(draw_chart(outcomes, measured, simulated=False))).shape
    assert (width > 800, channels) == (True, 4)


def test_cost_per_order_needs_conclusive_orders():
    certain = _measure(_simulated(2, customers=4000, lift=0.9))
    assert certain.cost_per_order == pytest.approx(40.0 / certain.effects["orders"].total)
    assert certain.cost_per_order_low < certain.cost_per_order < certain.cost_per_order_high
    assert certain.advice == "repeat"
    assert _measure(_simulated(2, lift=0.0)).cost_per_order is None


def _rarely_bought(seed: int, rate: float, customers: int) -> Outcomes:
    """Customers of whom ``rate`` buys, with or without the offer."""
    outcomes, rng = _simulated(seed, customers=customers), np.random.default_rng(seed)
    for prefix in ("pre_", ""):
        bought = rng.random(customers) < rate
        for name, each in (("buyers", 1.0), ("orders", 1.0), ("revenue", 30.0), ("profit", 9.0)):
            outcomes.customers[f"{prefix}{name}"] = bought * each
    return outcomes


@pytest.mark.nightly
def test_few_buyers_give_no_false_gain():
    """A group without buyers has no variance of its own."""
    measured = [_measure(_rarely_bought(seed, 0.05, 200)) for seed in range(100)]
    # The intervals alone
    assert sum(measurement.effects["orders"].low > 0 for measurement in measured) <= 5
    assert {measurement.advice for measurement in measured} == {"too_small"}
    assert all(measurement.cost_per_order is None for measurement in measured)
    parts = _measure(_rarely_bought(3, 0.01, 600), segmented=("tier",))
    assert parts.segments == {}  # nor of a part
    often = [_measure(_rarely_bought(seed, 0.3, 600)) for seed in range(100)]
    assert sum(measurement.advice != "undecided" for measurement in often) <= 8


def test_group_with_one_customer_is_too_small_to_measure():
    outcomes = _simulated(4, customers=10, holdout=0.1)
    measured = _measure(outcomes, 0.9)
    assert (measured.effects, measured.advice) == ({}, "too_small")
    assert imread(io.BytesIO(draw_chart(outcomes, measured, simulated=True))).shape[2] == 4


def test_advice_follows_the_intervals():
    ratio = sample_ratio(850, 150, 0.85)

    noise = np.random.default_rng(0).normal(0, 1, 1000)
    treated = np.arange(1000) < 850
    noise -= np.where(treated, noise[treated].mean(), noise[~treated].mean())

    def advice(profit: float, orders: float) -> str:
        values = {"profit": profit, "orders": orders}
        effects = {
            name: _difference(noise + value * treated, np.zeros(1000), treated)
            for name, value in values.items()
        }
        return advise(effects, ratio)

    assert advice(3, 3) == "repeat"
    assert advice(-3, 3) == "cheaper"
    assert advice(-3, 0) == "stop"
    assert advice(0, 0) == "undecided"
