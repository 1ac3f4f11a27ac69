"""Tests of BG/NBD and Gamma-Gamma."""

from dataclasses import asdict

import numpy as np
import pytest

from retention.value import bgnbd, gamma_gamma
from tests.retention.value import cdnow

CDNOW = bgnbd.BgNbd(0.2426, 4.4136, 0.7929, 2.4259)


@pytest.fixture(scope="module")
def fitted():
    """BG/NBD, fitted on the CDNOW sample."""
    return bgnbd.fit(*cdnow.training_period()[:3])


def test_matches_the_worked_cdnow_values():
    x, t_x = np.array([0, 1, 5, 10]), np.array([0.0, 5, 30, 38])
    np.testing.assert_allclose(CDNOW.alive(x, t_x, 38.86), [1, 0.3148, 0.7091, 0.9214], atol=2e-4)
    np.testing.assert_allclose(
        CDNOW.no_purchase(x, t_x, 38.86, 39), [0.8554, 0.8269, 0.3153, 0.0798], atol=4e-4
    )
    customer = (np.array([2]), np.array([30.43]), np.array([38.86]))
    assert CDNOW.alive(*customer)[0] == pytest.approx(0.7266, abs=1e-4)
    assert CDNOW.expected(*customer, 39)[0] == pytest.approx(1.2259, abs=1e-4)
    assert CDNOW.no_purchase(*customer, 39)[0] == pytest.approx(0.4454, abs=1e-4)


def test_matches_the_published_cdnow_fit(fitted):
    x, t_x, age, _ = cdnow.training_period()
    # The likelihood is flat along a ridge.
    assert asdict(fitted) == pytest.approx(asdict(CDNOW), rel=5e-3)
    assert fitted.log_likelihood(x, t_x, age).sum() == pytest.approx(-9582.4, abs=0.05)
    error = fitted.expected(x, t_x, age, cdnow.WEEKS) - cdnow.test_period()[0]
    assert np.abs(error).mean() == pytest.approx(0.786, abs=6e-4)
    assert np.sqrt((error**2).mean()) == pytest.approx(1.608, abs=6e-4)


def test_matches_the_published_cdnow_spend(fitted):
    x, t_x, age, mean = cdnow.training_period()
    repeat = x > 0
    spend_model = gamma_gamma.fit(x[repeat], mean[repeat])
    assert repeat.sum() == 946
    assert (spend_model.p, spend_model.q, spend_model.v) == pytest.approx(
        (6.2496, 3.7442, 15.4435), rel=1e-3
    )
    spend = fitted.expected(x, t_x, age, cdnow.WEEKS) * spend_model.expected(x, mean)
    actual = cdnow.test_period()[1]
    assert spend.sum() / actual.sum() - 1 == pytest.approx(-0.156, abs=1e-3)
    assert cdnow.normalised_gini(actual, spend) == pytest.approx(0.638, abs=5e-4)


def test_probabilities_follow_recency_horizon_and_unit(fitted):
    """Silence lowers P(alive); a longer horizon raises purchases; hours and weeks agree."""
    model = fitted
    x, t_x, age = np.full(5, 4.0), np.full(5, 20.0), np.array([20.0, 25, 30, 40, 80])
    assert (np.diff(model.alive(x, t_x, age)) < 0).all()
    x, t_x, age, _ = cdnow.training_period()
    none = np.array([model.no_purchase(x, t_x, age, t) for t in (1e-9, 1, 4, 13, 1000)])
    assert none[0] == pytest.approx(np.ones(len(x)))
    assert (np.diff(none, axis=0) < 0).all()
    assert (none >= 1 - model.alive(x, t_x, age) - 1e-9).all()
    counts = np.array([model.expected(x, t_x, age, t) for t in (1e-9, 1, 4, 13)])
    assert counts[0] == pytest.approx(0, abs=1e-6)
    assert (np.diff(counts, axis=0) > 0).all()
    assert (counts[1:] >= 1 - none[1:4] - 1e-9).all()  # E[N] >= P(N > 0)
    days = bgnbd.fit(x, 7 * t_x, 7 * age)
    assert days.no_purchase(x, 7 * t_x, 7 * age, 28) == pytest.approx(none[2], abs=1e-3)


def test_no_purchase_agrees_with_the_likelihood_ratio(fitted):
    x, t_x, age, _ = cdnow.training_period()
    now, later = (fitted.log_likelihood(x, t_x, age + ahead) for ahead in (0, 13.0))
    ratio = np.exp(np.minimum(later - now, 0))
    assert fitted.no_purchase(x, t_x, age, 13.0) == pytest.approx(ratio, abs=1e-9)


@pytest.mark.parametrize(
    "model", [bgnbd.BgNbd(0.24, 4.4, 0.79, 2.4), bgnbd.BgNbd(0.24, 4.4, 1.0, 2.4)]
)
def test_results_stay_finite_for_frequent_buyers_and_long_horizons(model):
    x, t_x, age = np.array([0.0, 50, 1000, 5000]), np.array([0.0, 300, 360, 364]), np.full(4, 365.0)
    for horizon in (1.0, 28.0, 20_000.0):
        for figure in (model.expected, model.no_purchase):
            values = figure(x, t_x, age, horizon)
            assert (np.isfinite(values) & (values >= 0)).all()


def test_fit_recovers_simulated_parameters_in_any_unit():
    rng = np.random.default_rng(3)
    true, n, age = bgnbd.BgNbd(0.8, 6.0, 0.9, 3.0), 20_000, 52.0
    rate, stop = rng.gamma(true.r, 1 / true.alpha, n), rng.beta(true.a, true.b, n)
    x, t_x, at, alive = np.zeros(n), np.zeros(n), np.zeros(n), np.ones(n, dtype=bool)
    while alive.any():
        at = at + rng.exponential(1 / rate)
        alive &= at < age
        x, t_x = x + alive, np.where(alive, at, t_x)
        alive &= rng.random(n) >= stop
    weeks, days = bgnbd.fit(x, t_x, np.full(n, age)), bgnbd.fit(x, 7 * t_x, np.full(n, 7 * age))
    assert weeks.r == pytest.approx(true.r, rel=0.1)
    assert weeks.alpha == pytest.approx(true.alpha, rel=0.1)
    customer = (np.array([3]), np.array([30.0]), np.array([52.0]))
    assert weeks.alive(*customer) == pytest.approx(true.alive(*customer), abs=0.02)
    assert days.alpha == pytest.approx(7 * weeks.alpha, rel=0.01)


def test_wait_is_a_quantile_of_the_return_time():
    model = CDNOW
    x, age = np.array([0.0, 3, 20]), np.array([5.0, 30, 30])
    for share in (0.1, 0.5, 0.9):
        wait = model.wait_if_alive(x, age, share)
        none_if_alive = ((model.alpha + age) / (model.alpha + age + wait)) ** (model.r + x)
        assert none_if_alive == pytest.approx(np.full(3, 1 - share))


def test_spend_shrinks_to_the_mean_less_with_more_purchases():
    model = gamma_gamma.GammaGamma(6.2496, 3.7442, 15.4435)
    everyone, few, many = model.expected(np.array([0, 2, 50]), np.array([np.nan, 100.0, 100.0]))
    assert everyone < few < many < 100


def test_gamma_gamma_recovers_simulated_parameters():
    rng = np.random.default_rng(4)
    x = rng.integers(1, 12, 20_000)
    mean = rng.gamma(6.0 * x) / x / rng.gamma(4.0, 1 / 15.0, len(x))
    model = gamma_gamma.fit(x, mean)
    assert (model.p, model.q, model.v) == pytest.approx((6, 4, 15), rel=0.1)


@pytest.mark.parametrize("history", [([], [], []), ([1], [5.0], [4.0]), ([-1], [0.0], [4.0])])
def test_rejects_impossible_histories(history):
    with pytest.raises(ValueError, match="purchase model needs"):
        bgnbd.fit(*map(np.array, history))
