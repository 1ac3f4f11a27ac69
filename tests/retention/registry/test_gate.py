"""The gate's checks on made-up scores, and the whole judgement on the tiny shop."""

import itertools
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit

from retention.churn.model import fit
from retention.churn.snapshots import build_training_set
from retention.churn.uncertainty import Interval, log_losses, paired_interval
from retention.registry import gate
from retention.registry.backtest import backtest, backtest_origins


@pytest.fixture(scope="module")
def world():
    """5,000 customers with their true log-odds, what became of them, and their ids."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-1.5, 1.2, 5000)
    return logits, (rng.random(5000) < expit(logits)).astype(float), np.arange(5000).astype(str)


def test_a_true_probability_is_calibrated_and_a_bold_one_is_not(world):
    logits, churned, _ = world
    error, slope = gate.check_calibration(churned, expit(logits))
    assert error.passed
    assert slope.passed
    error, slope = gate.check_calibration(churned, expit(2.5 * logits))
    assert not error.passed
    assert not slope.passed
    assert "0.4" in slope.text  # 1 / 2.5


def test_the_slope_is_that_of_scikit_learn(world):
    from sklearn.linear_model import LogisticRegression

    logits, churned, _ = world
    oracle = LogisticRegression(C=1e9).fit(1.7 * logits[:, None], churned).coef_[0, 0]
    slope, sd = gate.calibration_line(churned, expit(1.7 * logits))
    assert slope == pytest.approx(oracle, rel=1e-3)
    assert 0 < sd < 0.1


def test_few_customers_are_not_refused_for_what_chance_does():
    rng = np.random.default_rng(1)
    passed = 0
    for _ in range(100):
        p = rng.uniform(0.05, 0.6, 80)
        passed += gate.check_calibration((rng.random(80) < p).astype(float), p)[0].passed
    assert passed >= 88  # their ECE is around .1


def test_an_interval_is_as_wide_as_the_customers_are_few(world):
    logits, churned, customers = world
    gap = log_losses(churned, expit(logits)) - log_losses(churned, expit(0.8 * logits))
    whole = paired_interval(gap, customers)
    assert whole.low < whole.mean < whole.high < 0
    theory = 2 * 1.96 * gap.std() / np.sqrt(len(gap))
    assert whole.high - whole.low == pytest.approx(theory, rel=0.15)
    # the same customers at three origins are not three times as many
    thrice = paired_interval(np.tile(gap, 3), np.tile(customers, 3))
    assert thrice.high - thrice.low == pytest.approx(whole.high - whole.low, rel=0.1)
    assert paired_interval(gap, customers) == whole  # seeded


def test_another_recipe_has_to_be_better_beyond_doubt_on_three_origins():
    sure, unsure = Interval(-0.02, -0.03, -0.01), Interval(-0.02, -0.05, 0.01)
    assert gate.check_better(sure, 3).passed
    assert not gate.check_better(unsure, 3).passed
    assert "+0.0100" in gate.check_better(unsure, 3).text
    assert not gate.check_better(sure, 2).passed
    assert gate.check_not_worse(unsure, 1).passed
    assert not gate.check_not_worse(Interval(0.02, 0.01, 0.03), 1).passed


def test_lift_may_be_two_percent_less():
    assert gate.check_lift([3.0], [3.05]).passed
    assert not gate.check_lift([3.0, 2.8], [3.1, 3.0]).passed


@pytest.fixture(scope="module")
def training(shop):
    return build_training_set(shop.lake, cutoff=shop.end, horizon_days=14, active_within_days=42)


@pytest.fixture(scope="module")
def logistic(training):
    return fit(training, model="logistic")


def test_origins_are_a_horizon_apart_and_know_nothing_later(training):
    pairs = backtest_origins(training)
    assert len(pairs) == gate.ORIGINS
    horizon = timedelta(days=14)
    for test, before in pairs:
        assert before.cutoff == test.cutoff
        assert all(one.cutoff + horizon <= test.cutoff for one in before.snapshots)
    moments = [test.cutoff for test, _ in pairs]
    assert all(later - earlier >= horizon for later, earlier in itertools.pairwise(moments))


def test_the_first_is_used_and_what_failed_is_told(training, logistic):
    found = backtest(training, logistic, None)
    assert found.promote
    assert found.why.startswith("It is the first.")
    told = found.as_dict()
    assert len(told["origins"]) == gate.ORIGINS
    assert {check["name"] for check in told["checks"]} == {"ece", "slope", "psi", "baselines"}
    failed = [check["text"] for check in told["checks"] if not check["passed"]]
    assert all(text in found.why for text in failed)


def test_the_same_recipe_on_newer_data_is_held_against_what_the_champion_had_not_seen(
    training, logistic
):
    old = replace(logistic, cutoff=training.cutoff - timedelta(days=30))
    found = backtest(training, logistic, old)
    assert found.details["difference"]["origins"] == 2  # of 14, 28 and 42 days ago
    assert "log_loss" in {check.name for check in found.checks}
    fresh = backtest(training, logistic, logistic)  # it knows all three outcomes already
    assert "difference" not in fresh.details
    assert "log_loss" not in {check.name for check in fresh.checks}


def test_another_recipe_that_is_no_better_is_refused_with_the_reason(training, logistic):
    found = backtest(training, fit(training, model="tree"), logistic)
    assert not found.promote
    assert "The one in use stays, for" in found.why
    check = next(check for check in found.checks if check.name == "log_loss")
    assert check.text in found.why
    assert "3 origins" in check.text


def test_another_definition_of_churn_is_not_compared(training, logistic):
    found = backtest(training, logistic, replace(logistic, horizon_days=28))
    assert "difference" not in found.details
    assert found.promote == all(check.passed for check in found.checks)


def test_a_new_definition_of_churn_is_told_beside_the_old_one(training, logistic, monkeypatch):
    """Another --active-within took the champion's place, and nobody read in which way customers were now others."""
    monkeypatch.setattr("retention.registry.backtest._model_checks", lambda *_: [])
    found = backtest(training, logistic, replace(logistic, active_within_days=None))
    assert found.promote
    for said in (
        "no order for 14 days, among those who ordered within 42 days",
        "among all who ever ordered",
        "rollback",
    ):
        assert said in found.why


def test_a_fault_that_the_champion_shares_is_told_and_does_not_keep_the_staler_of_two(
    training, logistic, monkeypatch
):
    bad = gate.Check("ece", False, "ECE 0.200, limit 0.050")
    monkeypatch.setattr(gate, "check_calibration", lambda *_: (bad,))
    monkeypatch.setattr(gate, "check_baselines", lambda *_: gate.Check("baselines", True, ""))
    same = backtest(training, logistic, logistic)
    assert same.promote
    assert "Mind, as the one in use does: ECE 0.200" in same.why
    another = replace(logistic, estimator="tree")
    assert "Mind, as the one in use does: ECE 0.200" in backtest(training, logistic, another).why
    kept = itertools.chain([(bad,)], itertools.repeat(()))  # the challenger is asked first
    monkeypatch.setattr(gate, "check_calibration", lambda *_: next(kept))
    other = backtest(training, logistic, another)
    assert not other.promote
    assert "The one in use stays, for ECE 0.200" in other.why


@dataclass(frozen=True)
class _Inverted:
    """A model that says the contrary: what has become of one whose customers changed."""

    model: Any

    def predict_proba(self, X):
        return self.model.predict_proba(X)[:, ::-1]


def test_what_is_better_than_a_collapsed_champion_need_not_be_good(training, logistic, monkeypatch):
    """Its log-odds are twice too large, so neither keeps the limits of calibration; the worse of the two does not stay."""
    first = backtest(training, logistic, None)
    bold = replace(logistic, estimator="forest", cutoff=training.cutoff - timedelta(days=90))
    collapsed = replace(bold, model=_Inverted(logistic.model))
    origins = tuple(
        replace(one, probability=expit(2.5 * logit(one.probability))) for one in first.origins
    )
    monkeypatch.setattr(
        "retention.registry.backtest._evaluate_origins",
        lambda _, __, champion, ___: tuple(
            replace(one, champion=champion.predict(one.test) if champion else None, unseen=True)
            for one in origins
        ),
    )
    found = backtest(training, logistic, collapsed)
    failed = {check.name for check in found.checks if not check.passed}
    assert failed >= {"ece", "slope"}
    assert found.promote
    assert "its recipe is better than the one in use" in found.why
    assert "Mind, as the one in use does: ECE" in found.why
    refused = backtest(training, logistic, bold)  # this one keeps them
    assert not refused.promote
    assert "The one in use stays, for ECE" in refused.why


def test_a_champion_whose_features_are_gone_cannot_be_asked_and_is_replaced(
    training, logistic, monkeypatch
):
    bad = gate.Check("ece", False, "ECE 0.200, limit 0.050")
    monkeypatch.setattr(gate, "check_calibration", lambda *_: (bad,))
    monkeypatch.setattr(gate, "check_baselines", lambda *_: gate.Check("baselines", True, ""))
    found = backtest(training, logistic, replace(logistic, columns=(*logistic.columns, "bygone")))
    assert found.promote
    assert "no longer computed (bygone)" in found.why
    monkeypatch.setattr("retention.registry.backtest._evaluate_origins", lambda *_: ())
    unjudged = backtest(
        training, logistic, replace(logistic, columns=(*logistic.columns, "bygone"))
    )
    assert unjudged.promote
    assert "used unjudged" in unjudged.why
    assert not backtest(training, logistic, logistic).promote
    assert "Mind: ECE 0.200" in found.why  # nobody can be scored by it, so there is only this one
