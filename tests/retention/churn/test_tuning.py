"""Tests of the search for settings: budget, seed, significance."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from retention.churn import tuning
from retention.churn.estimators import ENSEMBLE
from retention.churn.model import TrainedChurn, fit
from retention.churn.training_set import build_training_set
from retention.churn.tuning import SPACE, Budget, tune
from retention.registry.backtest import same_recipe
from retention.window import Window

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def training(shop):
    cutoff = shop.begin + timedelta(days=115)
    return build_training_set(shop.lake, cutoff=cutoff, window=Window(14, 56))


def pretend(monkeypatch, worth):
    """Losses of n customers by settings, instead of fits; what was judged where, in turn."""
    calls = []

    def losses(training, origin, name, settings, seed):
        calls.append((origin.cutoff, tuple(settings.items())))
        noise = np.random.default_rng(len(origin.frame)).normal(0.3, 0.1, len(origin.frame))
        return noise + worth(settings)

    monkeypatch.setattr(tuning, "_losses", losses)
    return calls


def test_successive_halving_finds_the_best_settings(training, monkeypatch):
    calls = pretend(
        monkeypatch, lambda settings: 0.01 * abs(np.log(settings["C"] / 0.2)) if settings else 0.05
    )
    (result,) = tune(training, ["logistic", "bg_nbd"], Budget(fits=40), seed=3)
    assert 0.1 < result.settings["C"] < 0.4
    assert result.difference.high < 0
    assert result.fits == len(calls) <= 40
    fromkeys = dict.fromkeys(moment for moment, _ in calls)
    at = [sum(moment == call for moment, _ in calls) for call in fromkeys]
    assert len(at) == 3
    assert at[0] > 1.5 * at[1] > 1.5 * at[2]
    # By fits, not by the clock
    assert tune(training, ["logistic"], Budget(fits=40), seed=3)[0].settings == result.settings
    assert tune(training, ["logistic"], Budget(fits=40), seed=4)[0].settings != result.settings


def test_insignificant_gains_keep_the_defaults(training, monkeypatch):
    rng = np.random.default_rng(0)
    pretend(monkeypatch, lambda settings: rng.normal(0, 1e-3) if settings else 0.0)
    monkeypatch.setattr(
        tuning,
        "paired_interval",
        lambda difference, _: tuning.Interval(difference.mean(), -0.01, 0.001),
    )
    (result,) = tune(training, ["boosting"], Budget(fits=20))
    assert result.settings == {}
    assert result.tried > 5


def test_time_budget_ends_the_search(training, monkeypatch):
    now = iter(np.arange(0, 1000, 0.5))
    monkeypatch.setattr(tuning, "monotonic", lambda: next(now))
    calls = pretend(monkeypatch, lambda settings: 0.0)
    tune(training, ["logistic"], Budget(seconds=6))
    assert 1 < len(calls) <= 12


def test_all_ensemble_members_have_a_search_space():
    assert set(ENSEMBLE) <= set(SPACE)


def test_search_spaces_give_valid_settings(training):
    snapshots = tuple(snapshot.rows(snapshot.hashed % 3 == 0) for snapshot in training.snapshots)
    few = replace(training, snapshots=snapshots, fits={})
    for name in SPACE:
        settings = tuning.draw_settings(name, np.random.default_rng(1))
        losses = tuning._losses(few, few.newest, name, settings, 0)
        assert np.isfinite(losses).all()


def test_tuned_models_report_results_and_are_reproducible(training):
    models = [fit(training, model="logistic", seed=1, tune=Budget(fits=6)) for _ in range(2)]
    X = training.newest.matrix(models[0].columns)
    np.testing.assert_array_equal(*(model.probability(X) for model in models))
    (texts,) = models[0].parameters["tuning"].values()
    assert texts["fits"] <= 6
    assert texts["tried"] >= 1
    stored = TrainedChurn.from_bytes(models[0].to_bytes())
    assert stored.parameters["tuning"] == models[0].parameters["tuning"]


def test_settings_reach_the_fits_and_change_the_recipe(training):
    plain = fit(training, model="logistic")
    firm = fit(replace(training, settings={"logistic": {"C": 1e-6}}), model="logistic")
    X = training.newest.matrix(plain.columns)
    assert firm.probability(X).std() < 0.2 * plain.probability(X).std()
    assert firm.parameters["settings"] == {"logistic": {"C": 1e-6}}
    assert not same_recipe(plain, firm)
