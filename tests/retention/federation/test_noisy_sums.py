"""Sums with noise: what one customer moves, what the noise adds up to, and what is sent."""

from math import log, sqrt

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from scipy import stats

from retention.federation import masks, noisy_sums
from retention.privacy import descent, extra, noise
from tests.retention.privacy.stand_in import numpy_noise  # noqa: F401 - a fixture

REJECTED = 1e-6  # OpenDP takes no seed: as in tests/retention/privacy/test_noise.py
SIZE = 6  # five columns and the count


def rows(number, customers=40):
    """Return weights, columns, labels and customers; some values are far beyond ±1."""
    rng = np.random.default_rng(number)
    customer = np.sort(np.append(np.arange(customers), rng.integers(0, customers, 3 * customers)))
    X = rng.standard_t(2, size=(len(customer), SIZE - 1)).clip(-4, 4)
    y = (rng.random(len(customer)) < 0.4).astype(float)
    return rng.normal(size=SIZE - 1) * 3, X, y, customer


def without(customer, table):
    """Return the table without a customer's rows."""
    weights, X, y, customers = table
    keep = customers != customer
    return weights, X[keep], y[keep], np.unique(customers[keep], return_inverse=True)[1]


@pytest.mark.parametrize("number", range(5))
def test_customer_with_many_wild_rows_moves_a_sum_by_the_bound(number, monkeypatch):
    monkeypatch.setattr(noise, "rho_of", lambda *_: descent.terms(2.0)["steps"] / 2)
    bound = noisy_sums.share_scale(2.0, 2, SIZE)  # ρ = ½ a step and one share: σ is the bound
    table = rows(number)
    whole = noisy_sums.customer_sum(*table)
    moved = [
        np.linalg.norm((whole - noisy_sums.customer_sum(*without(one, table))).astype(float))
        for one in range(40)
    ]
    assert max(moved) <= bound
    assert max(moved) > 0.3 * bound  # the bound is not far off


def test_gradient_beyond_norm_1_is_clipped_to_it():
    X, y, customer = np.full((1, 5), 4.0), np.ones(1), np.zeros(1, int)
    told = noisy_sums.customer_sum(np.full(5, -3.0), X, y, customer) / noisy_sums.UNIT
    assert np.linalg.norm(told[:-1]) == pytest.approx(1, abs=1e-8)
    assert told[-1] == pytest.approx(noisy_sums.COUNTED)


@pytest.mark.usefixtures("numpy_noise")
@pytest.mark.parametrize("desks", [3, 10, 64])
def test_noise_of_all_desks_but_one_keeps_the_stated_epsilon(desks):
    epsilon = 2.0
    share = noisy_sums.share_scale(epsilon, desks, SIZE) / noisy_sums.UNIT
    total = share * sqrt(desks - 1)
    moved = 1 / (1 - descent.COUNT_SHARE)  # squared: a gradient of norm 1 and the count
    rho = descent.terms(epsilon)["steps"] * moved / (2 * total**2)
    assert rho + 2 * sqrt(rho * log(1 / descent.DELTA)) == pytest.approx(epsilon, rel=1e-6)


@pytest.mark.usefixtures("numpy_noise")
def test_no_message_and_no_total_is_an_exact_sum(monkeypatch):
    drawn = []

    def noisy_whole(exact, scale):
        drawn.append(np.random.default_rng(len(drawn)).normal(size=len(exact)) * scale)
        return exact + np.round(drawn[-1]).astype(np.int64)

    monkeypatch.setattr(noise, "noisy_whole", noisy_whole)
    keys = [X25519PrivateKey.generate() for _ in range(3)]
    peers = {str(n): key.public_key().public_bytes_raw().hex() for n, key in enumerate(keys)}
    scale = noisy_sums.share_scale(2.0, 3, SIZE)
    exact = [noisy_sums.customer_sum(*rows(number)) for number in range(3)]
    noisy = [noise.noisy_whole(plain, scale) for plain in exact]
    sent = [masks.masked(own, key, peers, 1) for own, key in zip(noisy, keys, strict=True)]
    for message, own, plain in zip(sent, noisy, exact, strict=True):
        assert not np.isin(message.view(np.int64), [own, plain]).any()
        assert (np.abs(own - plain) > noisy_sums.UNIT * 1e-6).all()
    total = masks.unmasked(sent)
    np.testing.assert_array_equal(total, np.sum(noisy, axis=0))
    others = total - noisy[0] - np.sum(exact[1:], axis=0)  # what the first desk can find out
    np.testing.assert_allclose(others, np.sum(drawn[1:], axis=0), atol=2)


def test_total_no_desks_can_have_is_read_as_none():
    unit, counted = noisy_sums.UNIT, noisy_sums.COUNTED
    counts = [300.0]
    fair = np.array([30.0, -20.0, 100 * counted]) * unit
    mean = noisy_sums.mean_gradient(fair, unit, counts)
    assert counts == [300, pytest.approx(100)]
    np.testing.assert_allclose(mean, [0.15, -0.1])
    for false in ([1e6, 0, 100 * counted], [0, 0, -1e3], [0, 0, 2**30 * counted]):
        assert noisy_sums.mean_gradient(np.array(false) * unit, unit, counts) is None


def test_count_of_0_by_chance_makes_no_huge_step():
    total = np.array([10.0, 0.0]) * noisy_sums.UNIT
    mean = noisy_sums.mean_gradient(total, 10 * noisy_sums.UNIT, [])
    assert 0 < mean[0] < 0.5


def test_rows_that_are_no_numbers_are_refused():
    weights, X, y, customer = rows(1)
    X[3, 2] = np.inf
    with pytest.raises(ValueError, match="not_finite"), np.errstate(invalid="ignore"):
        noisy_sums.customer_sum(weights, X, y, customer)


@pytest.mark.privacy
@pytest.mark.skipif(not extra.is_installed(), reason="opendp is not installed")
@pytest.mark.parametrize("desks", [3, 5])
def test_total_noise_has_the_variance_of_the_stated_shares(desks):
    size = 20_000
    scale = noisy_sums.share_scale(2.0, desks, SIZE)
    nothing = np.zeros(size, np.int64)
    parts = [noise.noisy_whole(nothing, scale) for _ in range(desks)]
    needed = scale * sqrt(desks - 1)  # without one desk's own
    assert stats.kstest(np.sum(parts[1:], axis=0) / needed, stats.norm.cdf).pvalue > REJECTED
    assert stats.kstest(np.sum(parts, axis=0) / needed, stats.norm.cdf).pvalue < REJECTED
