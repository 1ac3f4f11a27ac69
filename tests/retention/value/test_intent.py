"""Intent on made-up customers whose hazard is known: learned, coherent, and told as numbers."""

import json

import numpy as np
import pytest

from retention.value import intent


@pytest.fixture(scope="module")
def world():
    """Waits are exponential with a rate that one feature gives; the other is noise. The closed form knows nothing."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=6000), rng.normal(size=6000)])
    rate = np.exp(-3.0 + np.sign(X[:, 0]) * np.log1p(np.abs(X[:, 0])))
    flat = intent.closed_form([np.exp(-0.05 * np.full(6000, end)) for end in intent.EDGES[1:]])
    return X, rate, rng.exponential(1 / rate), flat


def _fitted(world, followed: float) -> intent.Intent:
    X, _, wait, flat = world
    seen = np.where(wait < followed, wait, np.inf)
    return intent.fit(("a", "b"), [intent.Past(X, flat, seen, followed)])


def test_a_known_hazard_is_learned_at_every_horizon(world):
    X, rate, _, flat = world
    model = _fitted(world, 90.0)
    hazards = model.hazards(X, flat)
    for days in intent.HORIZONS:
        assert np.abs(intent.within(hazards, days) - (1 - np.exp(-rate * days))).mean() < 0.02


def test_horizons_are_coherent(world):
    X, _, _, flat = world
    hazards = _fitted(world, 90.0).hazards(X, flat)
    chances = np.array([intent.within(hazards, days) for days in (1, 7, 10, 30, 31, 60, 90)])
    assert (np.diff(chances, axis=0) > 0).all()
    early, middle, late = (intent.by_when(hazards, share) for share in (0.1, 0.5, 0.9))
    assert ((early < middle) & (middle < late) & (late <= 90)).all()
    for number in (0, 1, 2):  # the two are each other's inverse
        chance = intent.within(hazards[[number]], float(middle[number]))
        assert chance == pytest.approx(0.5 * intent.within(hazards[[number]], 90.0))


def test_what_was_not_followed_long_enough_is_left_to_the_closed_form(world):
    X, _, _, flat = world
    model = _fitted(world, 40.0)
    assert [weights is not None for weights in model.weights] == [True, True, True, False, False]
    hazards = model.hazards(X, flat)
    np.testing.assert_allclose(hazards[:, 3:], flat[:, 3:])
    assert np.abs(hazards[:, 0] - flat[:, 0]).mean() > 0.05


def test_it_travels_as_json_and_takes_what_is_missing(world):
    X, _, _, flat = world
    model = _fitted(world, 90.0)
    again = intent.Intent.from_dict(json.loads(json.dumps(model.as_dict())))
    assert again == model
    gaps = X.copy()
    gaps[::2, 0] = np.nan
    assert np.isfinite(again.hazards(gaps, flat)).all()


@pytest.mark.parametrize("hazard", [1e-6, 1e-3, 0.5, 1 - 1e-6])
@pytest.mark.parametrize("days", [3, 28, 90])
@pytest.mark.parametrize("silent", [0.02, 0.9])
def test_hazards_are_raised_or_lowered_to_what_is_known_better(hazard, days, silent):
    hazards = np.full((1, len(intent.EDGES) - 1), hazard)
    level = intent.anchored(hazards, intent.log_silence(hazards, days), np.array([silent]))
    assert 1 - intent.within(level, days) == pytest.approx(silent, abs=1e-4)
