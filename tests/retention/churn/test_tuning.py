"""Settings are searched within a budget, the same by the same seed, and kept only where they are better beyond doubt."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from retention.churn import tuning
from retention.churn.estimators import ENSEMBLE
from retention.churn.model import TrainedChurn, fit
from retention.churn.snapshots import build_training_set
from retention.churn.tuning import SPACE, Budget, tune
from retention.registry.backtest import same_recipe


@pytest.fixture(scope="module")
def training(shop):
    cutoff = shop.begin + timedelta(days=115)
    return build_training_set(shop.lake, cutoff=cutoff, horizon_days=14, active_within_days=56)


def pretend(monkeypatch, worth):
    """Losses of n customers by settings, instead of fits; what was judged where, in turn."""
    seen = []

    def losses(training, origin, name, settings, seed):
        seen.append((origin.cutoff, tuple(settings.items())))
        noise = np.random.default_rng(len(origin.frame)).normal(0.3, 0.1, len(origin.frame))
        return noise + worth(settings)

    monkeypatch.setattr(tuning, "_losses", losses)
    return seen


def test_the_better_half_goes_on_and_the_best_is_found(training, monkeypatch):
    seen = pretend(
        monkeypatch, lambda settings: 0.01 * abs(np.log(settings["C"] / 0.2)) if settings else 0.05
    )
    (found,) = tune(training, ["logistic", "bg_nbd"], Budget(fits=40), seed=3)
    assert 0.1 < found.settings["C"] < 0.4
    assert found.difference.high < 0
    assert found.fits == len(seen) <= 40
    at = [
        sum(moment == one for moment, _ in seen)
        for one in dict.fromkeys(moment for moment, _ in seen)
    ]
    assert len(at) == 3
    assert at[0] > 1.5 * at[1] > 1.5 * at[2]
    assert (
        tune(training, ["logistic"], Budget(fits=40), seed=3)[0].settings == found.settings
    )  # by fits, not by the clock
    assert tune(training, ["logistic"], Budget(fits=40), seed=4)[0].settings != found.settings


def test_what_is_no_better_than_chance_is_not_taken(training, monkeypatch):
    rng = np.random.default_rng(0)
    pretend(monkeypatch, lambda settings: rng.normal(0, 1e-3) if settings else 0.0)
    monkeypatch.setattr(
        tuning, "paired", lambda difference, _: tuning.Interval(difference.mean(), -0.01, 0.001)
    )
    (found,) = tune(training, ["boosting"], Budget(fits=20))
    assert found.settings == {}
    assert found.tried > 5


def test_seconds_end_a_search(training, monkeypatch):
    now = iter(np.arange(0, 1000, 0.5))
    monkeypatch.setattr(tuning, "monotonic", lambda: next(now))
    seen = pretend(monkeypatch, lambda settings: 0.0)
    tune(training, ["logistic"], Budget(seconds=6))
    assert 1 < len(seen) <= 12


def test_every_member_of_the_ensemble_has_settings_to_search():
    assert set(ENSEMBLE) <= set(SPACE)


def test_every_space_gives_settings_its_estimator_takes(training):
    few = replace(
        training,
        snapshots=tuple(one.rows(one.hashed % 3 == 0) for one in training.snapshots),
        fits={},
    )
    for name, draw in SPACE.items():
        settings = draw(np.random.default_rng(1))
        losses = tuning._losses(few, few.newest, name, settings, 0)
        assert np.isfinite(losses).all()


def test_a_tuned_model_says_what_was_found_and_is_the_same_again(training):
    models = [fit(training, model="logistic", seed=1, tune=Budget(fits=6)) for _ in range(2)]
    X = training.newest.matrix(models[0].columns)
    np.testing.assert_array_equal(*(model.probability(X) for model in models))
    (told,) = models[0].parameters["tuning"].values()
    assert told["fits"] <= 6
    assert told["tried"] >= 1
    kept = TrainedChurn.from_bytes(models[0].to_bytes())
    assert kept.parameters["tuning"] == models[0].parameters["tuning"]


def test_settings_reach_the_fits_and_make_another_recipe(training):
    plain = fit(training, model="logistic")
    firm = fit(replace(training, settings={"logistic": {"C": 1e-6}}), model="logistic")
    X = training.newest.matrix(plain.columns)
    assert firm.probability(X).std() < 0.2 * plain.probability(X).std()
    assert firm.parameters["settings"] == {"logistic": {"C": 1e-6}}
    assert not same_recipe(plain, firm)
