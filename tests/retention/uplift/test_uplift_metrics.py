"""Test that metrics equal scikit-uplift's to 1e-9, ties included, and their bootstrap."""

import warnings

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from sklift.metrics import qini_auc_score, uplift_at_k, uplift_auc_score

from retention.uplift.uplift_metrics import (
    METRICS,
    UpliftRanking,
    bootstrap_weights,
    percentile_interval,
)


def uplift_metrics(outcome, uplift, treated) -> dict[str, float]:
    measured = UpliftRanking.of(outcome, uplift, treated).measure()
    return {name: float(value[0]) for name, value in measured.items()}


def _theirs(outcome, uplift, treated) -> list[float]:
    treated = np.asarray(treated).astype("int64")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            qini_auc_score(outcome, uplift, treated),
            uplift_auc_score(outcome, uplift, treated),
            *(uplift_at_k(outcome, uplift, treated, strategy="overall", k=k) for k in (0.1, 0.3)),
        ]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(12, 300),
    st.integers(0, 3),
    st.floats(0.1, 0.9),
    st.floats(0.05, 0.95),
)
def test_metrics_equal_scikit_uplift(seed, customers, digits, share, rate):
    rng = np.random.default_rng(seed)
    treated, outcome = rng.binomial(1, share, customers), rng.binomial(1, rate, customers)
    treated[:2], outcome[:2] = (0, 1), (1, 0)  # both arms, both outcomes
    uplift = rng.normal(size=customers).round(digits)  # with many ties, with few, with none
    ours = uplift_metrics(outcome, uplift, treated)
    assert tuple(ours) == METRICS
    try:
        theirs = _theirs(outcome, uplift, treated)
    except ZeroDivisionError:  # scikit-uplift divides by a perfect curve's area without a look
        reject()
    np.testing.assert_allclose(list(ours.values()), theirs, rtol=0, atol=1e-9, equal_nan=True)


def test_perfect_ranking_scores_one_and_its_reverse_below_zero():
    outcome = np.array([1, 1, 0, 0, 1, 0, 1, 0])
    treated = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    perfect = outcome * treated - outcome * (1 - treated)
    assert uplift_metrics(outcome, perfect, treated)["qini"] == pytest.approx(1)
    assert uplift_metrics(outcome, -perfect, treated)["qini"] < 0
    assert uplift_metrics(outcome, np.zeros(8), treated)["qini"] == pytest.approx(0)


def test_weight_two_equals_two_customers():
    rng = np.random.default_rng(0)
    outcome, treated = rng.binomial(1, 0.4, 200), rng.binomial(1, 0.6, 200)
    uplift, often = rng.normal(size=200), rng.poisson(1.0, 200)
    weights = np.stack([often, np.ones(200, int)])
    weighted = UpliftRanking.of(outcome, uplift, treated).measure(weights)
    repeated = uplift_metrics(*(np.repeat(values, often) for values in (outcome, uplift, treated)))
    assert {name: value[0] for name, value in weighted.items()} == pytest.approx(repeated)
    assert {name: value[1] for name, value in weighted.items()} == pytest.approx(
        uplift_metrics(outcome, uplift, treated)
    )


def test_bootstrap_interval_matches_the_spread_of_new_samples():
    def sample(seed: int):
        rng = np.random.default_rng(seed)
        uplift = rng.normal(0.1, 0.1, 2000).clip(-0.2, 0.4)
        treated = rng.binomial(1, 0.5, 2000)
        return rng.binomial(1, 0.3 + treated * uplift), uplift, treated

    resampled = [uplift_metrics(*sample(seed))["qini"] for seed in range(60)]
    ranking = UpliftRanking.of(*sample(99))
    draws = np.concatenate(
        [ranking.measure(weights)["qini"] for weights in bootstrap_weights(2000, 200, seed=1)]
    )
    assert draws.std() == pytest.approx(np.std(resampled), rel=0.3)
    low, high = percentile_interval(draws)
    assert low < np.mean(resampled) < high
    assert percentile_interval(np.full(10, np.nan)) is None
