import numpy as np
import pytest

from retention.value import bgnbd, gamma_gamma

CDNOW = bgnbd.BgNbd(0.2426, 4.4136, 0.7929, 2.4259)


def test_the_worked_values_of_the_cdnow_sample():
    x, t_x = np.array([0, 1, 5, 10]), np.array([0.0, 5, 30, 38])
    np.testing.assert_allclose(CDNOW.alive(x, t_x, 38.86), [1, 0.3148, 0.7091, 0.9214], atol=2e-4)
    np.testing.assert_allclose(
        CDNOW.no_purchase(x, t_x, 38.86, 39), [0.8554, 0.8269, 0.3153, 0.0798], atol=4e-4
    )
    one = (np.array([2]), np.array([30.43]), np.array([38.86]))
    assert CDNOW.alive(*one)[0] == pytest.approx(0.7266, abs=1e-4)
    assert CDNOW.expected(*one, 39)[0] == pytest.approx(1.2259, abs=1e-4)
    assert CDNOW.no_purchase(*one, 39)[0] == pytest.approx(0.4454, abs=1e-4)


def test_a_fit_finds_what_made_the_data_in_any_unit():
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
    one = (np.array([3]), np.array([30.0]), np.array([52.0]))
    assert weeks.alive(*one) == pytest.approx(true.alive(*one), abs=0.02)
    assert days.alpha == pytest.approx(7 * weeks.alpha, rel=0.01)


def test_spend_is_drawn_towards_everyones_and_less_so_with_more_purchases():
    model = gamma_gamma.GammaGamma(6.2496, 3.7442, 15.4435)
    everyone, few, many = model.expected(np.array([0, 2, 50]), np.array([np.nan, 100.0, 100.0]))
    assert everyone < few < many < 100


def test_gamma_gamma_finds_what_made_the_data():
    rng = np.random.default_rng(4)
    x = rng.integers(1, 12, 20_000)
    mean = rng.gamma(6.0 * x) / x / rng.gamma(4.0, 1 / 15.0, len(x))
    found = gamma_gamma.fit(x, mean)
    assert (found.p, found.q, found.v) == pytest.approx((6, 4, 15), rel=0.1)


@pytest.mark.parametrize("history", [([], [], []), ([1], [5.0], [4.0])])
def test_an_impossible_history_is_refused(history):
    with pytest.raises(ValueError, match="BG/NBD needs"):
        bgnbd.fit(*map(np.array, history))
