import numpy as np
import pytest

from retention.value import FITS, bgnbd, gamma_gamma, mbgnbd, paretonbd
from retention.value.metrics import normalised_gini
from tests.retention.value import cdnow

CDNOW = bgnbd.BgNbd(0.2426, 4.4136, 0.7929, 2.4259)


@pytest.fixture(scope="module")
def fitted():
    """Each model, fitted on the CDNOW sample."""
    return {name: fit(*cdnow.known()[:3]) for name, fit in FITS.items()}


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


@pytest.mark.parametrize(
    ("name", "parameters", "mae", "rmse"),
    [
        ("bg_nbd", {"r": 0.2426, "alpha": 4.4136, "a": 0.7929, "b": 2.4259}, 0.786, 1.608),
        ("mbg_nbd", {"r": 0.5252, "alpha": 6.1859, "a": 0.8909, "b": 1.6121}, 0.765, 1.607),
        ("pareto_nbd", {"r": 0.5532, "alpha": 10.577, "s": 0.6063, "beta": 11.670}, 0.7545, 1.603),
    ],
)
def test_the_published_fits_of_the_cdnow_sample(fitted, name, parameters, mae, rmse):
    x, t_x, age, _ = cdnow.known()
    model = fitted[name]
    assert model.parameters() == pytest.approx(
        parameters, rel=5e-3
    )  # the likelihood is flat along a ridge
    counts = model.expected(x, t_x, age, cdnow.WEEKS)
    error = counts - cdnow.came()[0]
    assert np.abs(error).mean() == pytest.approx(mae, abs=6e-4)
    assert np.sqrt((error**2).mean()) == pytest.approx(rmse, abs=6e-4)


def test_log_likelihoods_are_the_published_ones(fitted):
    sums = {
        name: float(model.log_likelihood(*cdnow.known()[:3]).sum())
        for name, model in fitted.items()
    }
    assert sums["bg_nbd"] == pytest.approx(-9582.4, abs=0.05)
    assert sums["pareto_nbd"] == pytest.approx(-9595.0, abs=0.05)


def test_spend_of_the_cdnow_sample(fitted):
    x, t_x, age, mean = cdnow.known()
    repeat = x > 0
    found = gamma_gamma.fit(x[repeat], mean[repeat])
    assert repeat.sum() == 946
    assert (found.p, found.q, found.v) == pytest.approx((6.2496, 3.7442, 15.4435), rel=1e-3)
    spend = fitted["bg_nbd"].expected(x, t_x, age, cdnow.WEEKS) * found.expected(x, mean)
    came = cdnow.came()[1]
    assert spend.sum() / came.sum() - 1 == pytest.approx(-0.156, abs=1e-3)
    assert normalised_gini(came, spend) == pytest.approx(0.638, abs=5e-4)


@pytest.mark.parametrize("name", FITS)
def test_what_every_model_must_say(fitted, name):
    """Silence lowers P(alive); more time makes a purchase likelier and purchases more; hours and weeks agree."""
    model = fitted[name]
    x, t_x, age = np.full(5, 4.0), np.full(5, 20.0), np.array([20.0, 25, 30, 40, 80])
    assert (np.diff(model.alive(x, t_x, age)) < 0).all()
    x, t_x, age, _ = cdnow.known()
    none = np.array([model.no_purchase(x, t_x, age, t) for t in (1e-9, 1, 4, 13, 1000)])
    assert none[0] == pytest.approx(np.ones(len(x)))
    assert (np.diff(none, axis=0) < 0).all()
    assert (none >= 1 - model.alive(x, t_x, age) - 1e-9).all()
    counts = np.array([model.expected(x, t_x, age, t) for t in (1e-9, 1, 4, 13)])
    assert counts[0] == pytest.approx(0, abs=1e-6)
    assert (np.diff(counts, axis=0) > 0).all()
    assert (counts[1:] >= 1 - none[1:4] - 1e-9).all()  # E[N] >= P(N > 0)
    days = FITS[name](x, 7 * t_x, 7 * age)
    assert days.no_purchase(x, 7 * t_x, 7 * age, 28) == pytest.approx(none[2], abs=1e-3)


@pytest.mark.parametrize("name", FITS)
def test_no_purchase_is_the_closed_form(fitted, name):
    """P(alive) · P(none | alive) + P(gone), where the model has that in closed form; else by the likelihoods."""
    model = fitted[name]
    x, t_x, age, _ = cdnow.known()
    by_likelihood = super(type(model), model).no_purchase(x, t_x, age, 13.0)
    assert model.no_purchase(x, t_x, age, 13.0) == pytest.approx(by_likelihood, abs=1e-9)


@pytest.mark.parametrize(
    "model",
    [
        bgnbd.BgNbd(0.24, 4.4, 0.79, 2.4),
        bgnbd.BgNbd(0.24, 4.4, 1.0, 2.4),
        mbgnbd.MbgNbd(0.5, 6.0, 0.89, 1.6),
        paretonbd.ParetoNbd(0.05, 1e-3, 0.6, 1e5),
        paretonbd.ParetoNbd(0.05, 1e5, 1.0, 1e-3),
    ],
)
def test_thousands_of_purchases_and_long_horizons_stay_finite(model):
    x, t_x, age = np.array([0.0, 50, 1000, 5000]), np.array([0.0, 300, 360, 364]), np.full(4, 365.0)
    for horizon in (1.0, 28.0, 20_000.0):
        for found in (
            model.expected(x, t_x, age, horizon),
            model.no_purchase(x, t_x, age, horizon),
        ):
            assert np.isfinite(found).all()
            assert (found >= 0).all()


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


def test_half_have_come_back_after_the_median_wait():
    model = CDNOW
    x, age = np.array([0.0, 3, 20]), np.array([5.0, 30, 30])
    for share in (0.1, 0.5, 0.9):
        wait = model.wait_if_alive(x, age, share)
        none_if_alive = ((model.alpha + age) / (model.alpha + age + wait)) ** (model.r + x)
        assert none_if_alive == pytest.approx(np.full(3, 1 - share))


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


@pytest.mark.parametrize("fit", FITS.values())
@pytest.mark.parametrize("history", [([], [], []), ([1], [5.0], [4.0]), ([-1], [0.0], [4.0])])
def test_an_impossible_history_is_refused(fit, history):
    with pytest.raises(ValueError, match="purchase model needs"):
        fit(*map(np.array, history))
