"""Tests of purchase intent on simulated customers with known hazards."""

import json

import numpy as np
import pytest

from retention.value import purchase_intent


@pytest.fixture(scope="module")
def world():
    """Simulate exponential waits; one feature gives the rate, the other is noise."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=6000), rng.normal(size=6000)])
    rate = np.exp(-3.0 + np.sign(X[:, 0]) * np.log1p(np.abs(X[:, 0])))
    flat = purchase_intent.closed_form_hazards(
        [np.exp(-0.05 * np.full(6000, end)) for end in purchase_intent.EDGES[1:]]
    )
    return X, rate, rng.exponential(1 / rate), flat


def _fitted(world, observed_days: float) -> purchase_intent.Intent:
    X, _, wait, flat = world
    seen = np.where(wait < observed_days, wait, np.inf)
    return purchase_intent.fit(
        ("a", "b"), [purchase_intent.IntentSample(X, flat, seen, observed_days)]
    )


def test_recovers_a_known_hazard_at_every_horizon(world):
    X, rate, _, flat = world
    model = _fitted(world, 90.0)
    hazards = model.hazards(X, flat)
    for days in purchase_intent.HORIZONS:
        error = purchase_intent.order_probability(hazards, days) - (1 - np.exp(-rate * days))
        assert np.abs(error).mean() < 0.02


def test_probabilities_grow_with_the_horizon(world):
    X, _, _, flat = world
    hazards = _fitted(world, 90.0).hazards(X, flat)
    chances = np.array(
        [purchase_intent.order_probability(hazards, days) for days in (1, 7, 10, 30, 31, 60, 90)]
    )
    assert (np.diff(chances, axis=0) > 0).all()
    early, middle, late = (
        purchase_intent.order_quantile(hazards, share) for share in (0.1, 0.5, 0.9)
    )
    assert ((early < middle) & (middle < late) & (late <= 90)).all()
    for number in (0, 1, 2):  # the two are each other's inverse
        chance, until_end = (
            purchase_intent.order_probability(hazards[[number]], float(days))
            for days in (middle[number], 90)
        )
        assert chance == pytest.approx(0.5 * until_end)


def test_uses_the_closed_form_beyond_the_observed_days(world):
    X, _, _, flat = world
    model = _fitted(world, 40.0)
    assert [weights is not None for weights in model.weights] == [True, True, True, False, False]
    hazards = model.hazards(X, flat)
    np.testing.assert_allclose(hazards[:, 3:], flat[:, 3:])
    assert np.abs(hazards[:, 0] - flat[:, 0]).mean() > 0.05


def test_json_round_trip_and_missing_features(world):
    X, _, _, flat = world
    model = _fitted(world, 90.0)
    again = purchase_intent.Intent.from_dict(json.loads(json.dumps(model.as_dict())))
    assert again == model
    gaps = X.copy()
    gaps[::2, 0] = np.nan
    assert np.isfinite(again.hazards(gaps, flat)).all()


@pytest.mark.parametrize("hazard", [1e-6, 1e-3, 0.5, 1 - 1e-6])
@pytest.mark.parametrize("days", [3, 28, 90])
@pytest.mark.parametrize("silent", [0.02, 0.9])
def test_anchor_reaches_the_given_probability(hazard, days, silent):
    hazards = np.full((1, len(purchase_intent.EDGES) - 1), hazard)
    level = purchase_intent.anchor(
        hazards, purchase_intent.log_silence(hazards, days), np.array([silent])
    )
    assert 1 - purchase_intent.order_probability(level, days) == pytest.approx(silent, abs=1e-4)
