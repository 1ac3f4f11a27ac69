"""Test the differentially private model: bounds, storage, the future, and its row."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from retention.churn import private
from retention.churn.evaluation.classification_metrics import metrics
from retention.churn.model import TrainedChurn, fit
from retention.churn.training_set import build_training_set
from retention.errors import BadInput
from retention.privacy import descent, extra
from retention.registry.retrain import RetrainRequest
from retention.registry.retrain import churn as retrain
from retention.window import Window
from tests.retention.privacy.stand_in import numpy_noise  # noqa: F401 - a fixture

WINDOW = Window(21, 42)


def private_fit(training, epsilon):
    settings = {private.PRIVATE: {"epsilon": epsilon}}
    return fit(replace(training, settings=settings), model=private.PRIVATE)


def test_rows_have_norm_1_at_most_whatever_the_values():
    rng = np.random.default_rng(0)
    values = rng.standard_cauchy((500, len(private.COLUMNS))) * 1e6
    values[rng.random(values.shape) < 0.2] = np.nan
    values[0], values[1] = np.inf, -np.inf
    rows = np.column_stack([private.public_scale(values), np.full(500, private._intercept_input())])
    assert np.isfinite(rows).all()
    assert np.linalg.norm(rows, axis=1).max() < 1


def test_typical_customer_is_the_middle_of_the_bounds():
    np.testing.assert_allclose(private.public_scale(private.TYPICAL[None]), 0, atol=1e-12)


def test_customer_moves_a_gradient_by_1_at_most_with_any_number_of_rows(training, monkeypatch):
    """The first step's gradient is that of all rows; without one customer it changes by < 1."""
    gradients = []
    monkeypatch.setattr(extra, "require", lambda: None)
    monkeypatch.setattr(private.noise, "rho_of", lambda *_: 1.0)
    monkeypatch.setattr(
        private.noise, "noisy_vector", lambda exact, scale: gradients.append(exact) or exact
    )
    everyone = training.snapshots
    counts = np.unique(
        np.concatenate([each.frame.customer_id.to_numpy(str) for each in everyone]),
        return_counts=True,
    )
    busiest = counts[0][counts[1].argmax()]
    assert counts[1].max() > 3
    others = [each.rows((each.frame.customer_id != busiest).to_numpy()) for each in everyone]
    first = []
    for snapshots in (everyone, others):
        gradients.clear()
        private.fit(snapshots, 1.0)
        first.append(gradients[:2])
    (count, gradient), (count_without, gradient_without) = first
    assert count - count_without == pytest.approx(1)
    assert 0 < np.linalg.norm(gradient - gradient_without) < 1


def test_without_noise_the_descent_comes_close_to_the_best_fit(training):
    newest = training.newest
    rows = private.public_scale(newest.matrix(private.COLUMNS))
    best = LogisticRegression(C=1e5, max_iter=5_000).fit(rows, newest.labels)
    own = private.fit([newest], inf).predict_proba(newest.matrix(private.COLUMNS))
    losses = [log_loss(newest.labels, chance) for chance in (own, best.predict_proba(rows))]
    base = newest.labels.mean()
    useless = log_loss(newest.labels, np.full(len(newest.labels), base))
    assert useless - losses[0] > 0.8 * (useless - losses[1])


@pytest.mark.usefixtures("numpy_noise")
def test_small_epsilon_costs_accuracy(training):
    test = training.newest
    strict, plain = (private_fit(training, epsilon).predict(test) for epsilon in (0.1, inf))
    assert metrics(test.labels, strict)["log_loss"] > metrics(test.labels, plain)["log_loss"]


@pytest.mark.usefixtures("numpy_noise")
def test_stored_model_has_nothing_exact_and_predicts_the_same(training):
    trained = private_fit(training, 2.0)
    stored = TrainedChurn.from_bytes(trained.to_bytes())
    test = training.newest
    np.testing.assert_array_equal(stored.predict(test), trained.predict(test))
    assert stored.parameters == {
        "settings": {"private": {"epsilon": 2.0}},
        "privacy": {"epsilon": 2.0, "delta": descent.DELTA},
    }
    assert stored.train_rows == 0
    np.testing.assert_array_equal(stored.reference, private.TYPICAL)


def test_future_events_change_nothing(training, truncated):
    blind = build_training_set(truncated, cutoff=training.cutoff, window=WINDOW)
    heads = [private_fit(each, inf).model.members[0][-1] for each in (training, blind)]
    np.testing.assert_array_equal(heads[0].coef_, heads[1].coef_)


def test_fit_without_epsilon_or_extra_says_what_to_do(training, monkeypatch):
    with pytest.raises(BadInput, match=r"--epsilon is missing; .* such as --epsilon 2"):
        fit(training, model=private.PRIVATE)
    monkeypatch.setattr(extra, "is_installed", lambda: False)
    with pytest.raises(BadInput, match=r"retention-desk\[privacy\]"):
        private_fit(training, 1.0)


@pytest.mark.nightly
@pytest.mark.usefixtures("numpy_noise")
def test_card_of_a_private_model_shows_its_price(shop_copy):
    request = RetrainRequest(shop_copy.end, WINDOW, private.PRIVATE, "U1", None, epsilon=2.0)
    result = retrain(shop_copy.settings, shop_copy.lake, None, request, lambda *_: None)
    privacy = result.row.metrics["privacy"]
    assert privacy["log_loss"] > 0 < privacy["plain_log_loss"]
    assert "ε = 2, δ = 1e-06" in result.row.rung
    assert f"{privacy['plain_log_loss']:.4f}" in result.row.rung
    assert "tiers" not in result.row.parameters
