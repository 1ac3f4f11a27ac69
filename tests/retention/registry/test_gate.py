"""Tests of the gate's checks and of backtests on the tiny shop."""

import itertools
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit, logit

from retention.churn.evaluation.uncertainty import Interval, log_losses, paired_interval
from retention.churn.model import fit
from retention.churn.training_set import build_training_set
from retention.registry import gate
from retention.registry.backtest import backtest, backtest_origins
from retention.window import Window


@pytest.fixture(scope="module")
def world():
    """5,000 customers with their true log-odds, what became of them, and their ids."""
    rng = np.random.default_rng(0)
    logits = rng.normal(-1.5, 1.2, 5000)
    return logits, (rng.random(5000) < expit(logits)).astype(float), np.arange(5000).astype(str)


def test_calibration_check_separates_true_and_overconfident(world):
    logits, churned, _ = world
    sure, bold = (gate.check_calibration(churned, expit(times * logits)) for times in (1, 2.5))
    assert [check.passed for check in (*sure, *bold)] == [True, True, False, False]
    assert "0.4" in bold[1].text  # 1 / 2.5


def test_slope_matches_scikit_learn(world):
    from sklearn.linear_model import LogisticRegression

    logits, churned, _ = world
    oracle = LogisticRegression(C=1e9).fit(1.7 * logits[:, None], churned).coef_[0, 0]
    slope, sd = gate.calibration_line(churned, expit(1.7 * logits))
    assert slope == pytest.approx(oracle, rel=1e-3)
    assert 0 < sd < 0.1


@pytest.mark.nightly
def test_small_samples_do_not_fail_by_chance():
    rng = np.random.default_rng(1)
    passed = 0
    for _ in range(100):
        p = rng.uniform(0.05, 0.6, 80)
        passed += gate.check_calibration((rng.random(80) < p).astype(float), p)[0].passed
    assert passed >= 88  # their ECE is around .1


def test_interval_widens_with_fewer_customers(world):
    logits, churned, customers = world
    gap = log_losses(churned, expit(logits)) - log_losses(churned, expit(0.8 * logits))
    all_customers = paired_interval(gap, customers)
    assert all_customers.low < all_customers.mean < all_customers.high < 0
    theory = 2 * 1.96 * gap.std() / np.sqrt(len(gap))
    assert all_customers.high - all_customers.low == pytest.approx(theory, rel=0.15)
    # the same customers at three origins are not three times as many
    thrice = paired_interval(np.tile(gap, 3), np.tile(customers, 3))
    expected = pytest.approx(all_customers.high - all_customers.low, rel=0.1)
    assert thrice.high - thrice.low == expected
    assert paired_interval(gap, customers) == all_customers  # seeded


def test_other_recipe_must_be_significantly_better_and_the_same_not_worse():
    sure, unsure = Interval(-0.02, -0.03, -0.01), Interval(-0.02, -0.05, 0.01)
    assert "+0.0100" in gate.check_better(unsure, 3).text
    passes = [gate.check_better(sure, 3), gate.check_better(sure, 1, needed=1)]
    passes += [gate.check_not_worse(unsure, 1), gate.check_lift([3.0], [3.05])]
    fails = [gate.check_better(unsure, 3), gate.check_better(sure, 2)]
    fails += [gate.check_not_worse(Interval(0.02, 0.01, 0.03), 1)]
    fails += [gate.check_lift([3.0, 2.8], [3.1, 3.0])]  # at most 2% lower
    assert [check.passed for check in (*passes, *fails)] == [True] * 4 + [False] * 4


@pytest.fixture(scope="module")
def training(shop):
    return build_training_set(shop.lake, cutoff=shop.end, window=Window(14, 42))


@pytest.fixture(scope="module")
def logistic(training):
    return fit(training, model="logistic")


@pytest.fixture(scope="module")
def first(training, logistic):
    """The backtest of a first model."""
    return backtest(training, logistic, None)


def test_backtest_origins_are_a_horizon_apart(training):
    pairs = backtest_origins(training)
    assert len(pairs) == gate.ORIGINS
    horizon = timedelta(days=14)
    for test, before in pairs:
        assert before.cutoff == test.cutoff
        assert all(snapshot.cutoff + horizon <= test.cutoff for snapshot in before.snapshots)
    moments = [test.cutoff for test, _ in pairs]
    assert all(later - earlier >= horizon for later, earlier in itertools.pairwise(moments))


def test_first_model_is_used_and_failures_are_reported(first):
    assert first.promote
    assert first.why.startswith("It is the first.")
    figures = first.as_dict()
    assert len(figures["origins"]) == gate.ORIGINS
    assert {check["name"] for check in figures["checks"]} == {"ece", "slope", "psi", "baselines"}
    failed = [check["text"] for check in figures["checks"] if not check["passed"]]
    assert all(text in first.why for text in failed)


def test_same_recipe_is_compared_on_origins_new_to_the_champion(training, logistic):
    old = replace(logistic, cutoff=training.cutoff - timedelta(days=30))
    result = backtest(training, logistic, old)
    assert result.details["difference"]["origins"] == 2  # of 14, 28 and 42 days ago
    assert "log_loss" in {check.name for check in result.checks}
    fresh = backtest(training, logistic, logistic)  # it knows all three outcomes already
    assert "difference" not in fresh.details
    assert "log_loss" not in {check.name for check in fresh.checks}


def test_other_recipe_without_gain_is_refused_with_reason(training, logistic):
    result = backtest(training, fit(training, model="tree"), logistic)
    assert not result.promote
    assert "The one in use stays, for" in result.why
    check = next(check for check in result.checks if check.name == "log_loss")
    assert check.text in result.why
    assert "3 origins" in check.text


def test_other_churn_definition_is_not_compared(training, logistic):
    """A model for another definition is the first of its line: used, with its failures named."""
    result = backtest(training, logistic, replace(logistic, active_within_days=None))
    assert "difference" not in result.details
    assert result.promote
    failed = [check.text for check in result.checks if not check.passed]
    new, old = "among those who ordered within 42 days", "among all who ever ordered"
    for text in (f"no order for 14 days, {new}", old, "previous model", *failed):
        assert text in result.why


@pytest.mark.nightly
def test_shared_fault_is_reported_but_not_binding(training, logistic, monkeypatch):
    bad = gate.Check("ece", False, "ECE 0.200, limit 0.050")
    monkeypatch.setattr(gate, "check_calibration", lambda *_: (bad,))
    monkeypatch.setattr(gate, "check_baselines", lambda *_: gate.Check("baselines", True, ""))
    same = backtest(training, logistic, logistic)
    assert same.promote
    assert "Mind, as the one in use does: ECE 0.200" in same.why
    another = replace(logistic, estimator="tree")
    assert "Mind, as the one in use does: ECE 0.200" in backtest(training, logistic, another).why
    checks = itertools.chain([(bad,)], itertools.repeat(()))  # the challenger is asked first
    monkeypatch.setattr(gate, "check_calibration", lambda *_: next(checks))
    other = backtest(training, logistic, another)
    assert not other.promote
    assert "The one in use stays, for ECE 0.200" in other.why


def test_faulty_model_may_replace_a_worse_champion(training, logistic, first, monkeypatch):
    """Both fail the calibration limits; the worse one must not stay."""
    bold = replace(logistic, estimator="forest", cutoff=training.cutoff - timedelta(days=90))
    inverted = SimpleNamespace(predict_proba=lambda X: logistic.model.predict_proba(X)[:, ::-1])
    collapsed = replace(bold, model=inverted)

    def evaluated(_, __, champion, ___):
        return tuple(
            replace(
                origin,
                probability=expit(2.5 * logit(origin.probability)),
                champion=champion.predict(origin.test),
                unseen=True,
            )
            for origin in first.origins
        )

    monkeypatch.setattr("retention.registry.backtest._evaluate_origins", evaluated)
    result = backtest(training, logistic, collapsed)
    failed = {check.name for check in result.checks if not check.passed}
    assert failed >= {"ece", "slope"}
    assert result.promote
    assert "its recipe is better than the one in use" in result.why
    assert "Mind, as the one in use does: calibration error" in result.why
    refused = backtest(training, logistic, bold)  # this one keeps them
    assert not refused.promote
    assert "The one in use stays, for calibration error" in refused.why


def test_champion_with_missing_features_is_replaced(training, logistic, monkeypatch):
    bad = gate.Check("ece", False, "ECE 0.200, limit 0.050")
    monkeypatch.setattr(gate, "check_calibration", lambda *_: (bad,))
    monkeypatch.setattr(gate, "check_baselines", lambda *_: gate.Check("baselines", True, ""))
    result = backtest(training, logistic, replace(logistic, columns=(*logistic.columns, "bygone")))
    assert result.promote
    assert "no longer computed (bygone)" in result.why
    monkeypatch.setattr("retention.registry.backtest._evaluate_origins", lambda *_: ())
    champion = replace(logistic, columns=(*logistic.columns, "bygone"))
    unjudged = backtest(training, logistic, champion)
    assert unjudged.promote
    assert "used unjudged" in unjudged.why
    assert not backtest(training, logistic, logistic).promote
    assert "Mind: ECE 0.200" in result.why  # nobody can be scored by it, so there is only this one
