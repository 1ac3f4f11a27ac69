"""Test the noise of the extra ``privacy`` (make test-privacy).

OpenDP's samplers take no seed. So the tests of distributions reject at p < 1e-6: of a million runs
of the suite one fails by chance, and a wrong scale of 10% is seen all the same.
"""

from math import exp

import numpy as np
import pytest
from scipy import stats

from retention.privacy import extra, noise
from retention.privacy.descent import DELTA

REJECTED = 1e-6
pytestmark = [
    pytest.mark.privacy,
    pytest.mark.skipif(not extra.is_installed(), reason="opendp is not installed"),
]


def p_of_laplace(scale, *, drawn=20_000, stated=None):
    """Return the chi-square p-value of drawn noise against discrete Laplace of the stated scale."""
    values = np.array([noise.noisy_count(7, scale) - 7 for _ in range(drawn)])
    most = int(3 * scale)
    law = stats.dlaplace(1 / (stated or scale))
    inner = np.arange(-most, most + 1)
    expected = np.array([law.cdf(-most - 1), *law.pmf(inner), law.sf(most)]) * drawn
    seen = [(values < -most).sum(), *((values == k).sum() for k in inner), (values > most).sum()]
    return stats.chisquare(seen, expected * sum(seen) / expected.sum()).pvalue


@pytest.mark.parametrize("scale", [0.5, 3.0, 12.0])
def test_noise_of_counts_is_discrete_laplace(scale):
    assert p_of_laplace(scale) > REJECTED


def test_another_scale_would_be_noticed():
    assert p_of_laplace(3.0, stated=3.3) < REJECTED


def test_noise_of_gradients_is_gaussian():
    values = noise.noisy_vector(np.full(20_000, 5.0), 2.0) - 5
    assert stats.kstest(values, stats.norm(scale=2.0).cdf).pvalue > REJECTED
    assert stats.kstest(values, stats.norm(scale=2.2).cdf).pvalue < REJECTED


def test_range_holds_95_percent_of_the_noise():
    inside = sum(abs(noise.noisy_count(0, 10.0)) <= noise.likely_error(10.0) for _ in range(20_000))
    assert stats.binomtest(inside, 20_000, 0.95).pvalue > REJECTED


def test_neighbouring_counts_are_as_alike_as_epsilon_says():
    """Of any set of answers, one customer changes the probability by a factor of e^ε at most."""
    epsilon, drawn = 1.0, 40_000
    with_, without = (
        sum(noise.noisy_count(count, 1 / epsilon) >= 11 for _ in range(drawn)) for count in (11, 10)
    )
    margin = 5 * np.sqrt(1 / with_ + 1 / without)
    assert abs(np.log(with_ / without) - epsilon) < margin  # reached, and not exceeded


@pytest.mark.parametrize("epsilon", [0.1, 0.5, 2.0, 10.0])
def test_rho_is_close_to_and_below_the_stated_epsilon(epsilon):
    """The exact δ of one Gaussian of this ρ is below the stated one (Balle and Wang 2018)."""
    scale = 1 / np.sqrt(2 * noise.rho_of(epsilon, DELTA))
    low, high = (1 / (2 * scale) + sign * epsilon * scale for sign in (-1, 1))
    delta = stats.norm.cdf(low) - exp(epsilon) * stats.norm.cdf(-high)
    assert 0 < delta <= DELTA


def test_figures_share_epsilon_and_stay_positive():
    exact = [noise.Figure("few", 1), noise.Figure("sales", 900, 50, "money")]
    for _ in range(50):
        few, sales = noise.noisy_figures(exact, 1.0)
        assert 0 <= few["low"] <= few["value"] <= few["high"]
        assert sales["high"] - sales["low"] <= 2 * noise.likely_error(100.0) + 1
