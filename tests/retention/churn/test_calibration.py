"""Tests of calibration on out-of-time predictions."""

import numpy as np
import pytest
from scipy.special import expit, logit

from retention.churn.calibration import fit_calibration
from retention.churn.evaluation.classification_metrics import ece


def _origins(count, *, slope=1.0, shift=0.0, customers=3000):
    """What an overconfident (slope < 1) or biased model says at several origins, and what came."""
    rng = np.random.default_rng(count)
    log_odds = [rng.uniform(0.02, 0.98, customers) for _ in range(count)]
    truth = [expit(shift + slope * logit(p)) for p in log_odds]
    return log_odds, [(rng.random(customers) < p).astype(float) for p in truth]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_corrects_errors_common_to_all_origins(count):
    raw, came = _origins(count, slope=0.6, shift=0.5)
    calibrated, method = fit_calibration(raw, came)
    assert method in ("sigmoid", "isotonic")
    assert ece(came[0], raw[0]) > 0.08
    # One origin may be one season
    assert ece(came[0], calibrated.map(raw[0])) < (0.06 if count == 1 else 0.03)
    assert np.all(np.diff(calibrated.map(np.linspace(0, 1, 50))) >= 0)


def test_ignores_the_season_of_a_single_origin():
    high, came_high = _origins(1, shift=0.5)
    low, came_low = _origins(1, shift=-0.5)
    calibrated, method = fit_calibration([*high, *low], [*came_high, *came_low])
    assert method == "sigmoid"
    np.testing.assert_allclose(calibrated.map(np.array([0.2, 0.7])), [0.2, 0.7], atol=0.03)


def test_shrinks_the_shift_of_a_single_season():
    """More customers do not make it more than one season: two thirds of a shift of .5 are kept."""
    raw, came = _origins(2, shift=0.5, customers=20_000)
    origin, twice = fit_calibration(raw[:1], came[:1])[0], fit_calibration(raw, came)[0]
    shift = [logit(calibrated.map(np.array([0.5])))[0] for calibrated in (origin, twice)]
    assert 0.25 < shift[0] < 0.4
    assert shift[0] < shift[1] < 0.5


def test_no_map_with_few_churners():
    calibrated, method = fit_calibration([np.full(100, 0.1)], [np.repeat([0.0, 1.0], [95, 5])])
    assert (method, calibrated.slope, calibrated.shift) == ("none", 1.0, 0.0)
    assert fit_calibration([], [])[1] == "none"


def test_known_season_carries_little_of_a_shift_on():
    """The error of three origins is mostly the error of their seasons."""
    raw, came = _origins(3, slope=0.6, shift=0.5)
    calibrated, method = fit_calibration(raw, came, has_season=True)
    assert method == "shift"
    assert calibrated.slope == 1
    assert 0.05 < calibrated.shift < 0.2
    assert fit_calibration(raw[:1], came[:1], has_season=True)[0].shift < calibrated.shift


def test_known_season_carries_no_shift_that_changes_its_sign():
    high, came_high = _origins(1, shift=0.5)
    low, came_low = _origins(1, shift=-0.5)
    calibrated, _ = fit_calibration([*high, *low], [*came_high, *came_low], has_season=True)
    assert abs(calibrated.shift) < 0.01
