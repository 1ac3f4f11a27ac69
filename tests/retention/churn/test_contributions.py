"""Tests that contributions add up to the margin for all estimators."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retention.churn.estimators import ESTIMATORS, ClosedForm, LogOdds
from retention.churn.explaining.contributions import contributions
from retention.window import Window
from tests.retention.churn.models import assert_adds_up, fitted

ROWS, GROUPS = 400, [[0, 1], [2], [3, 4]]

SAMPLED = ("svm", "neural")  # all others are explained exactly


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(ROWS, 5)) * [1, 2, 5, 1, 3]
    X[rng.random(X.shape) < 0.05] = np.nan
    risk = (
        np.nan_to_num(X[:, 0])
        - 0.4 * np.nan_to_num(X[:, 2])
        + np.nan_to_num(X[:, 1]) * np.nan_to_num(X[:, 3])
    )
    y = (risk + rng.logistic(size=ROWS) > 0).astype(float)
    return X, y, np.nanmedian(X, axis=0)


@pytest.mark.nightly_after(8)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_base_and_contributions_add_up_to_the_margin(data, name):
    X, y, reference = data
    model = fitted(name, X, y)
    explanation = contributions(model, X[:60], reference, GROUPS)
    assert_adds_up(explanation, model.decision_function(X[:60]))
    again = contributions(model, X[:60], reference, GROUPS)
    np.testing.assert_array_equal(again.phi, explanation.phi)
    assert ("sampled Shapley values" in explanation.methods) == (name in SAMPLED)
    assert name in SAMPLED or explanation.error == 0
    assert explanation.error < 0.1 * np.abs(explanation.phi).sum(axis=1).mean()


def test_large_populations_use_path_attribution_and_add_up(data):
    X, y, reference = data
    model = fitted("forest", X, y)
    leaves = sum(int(tree.tree_.n_leaves) for tree in model.members[0].estimators_)
    exact = contributions(model, X, reference, GROUPS)
    explanation = contributions(model, X, reference, GROUPS, leaf_rows=10 * leaves)
    assert_adds_up(explanation, explanation.margin)
    np.testing.assert_allclose(explanation.phi[:10], exact.phi[:10])
    assert not np.allclose(explanation.phi[10:], exact.phi[10:])
    none = contributions(model, X, reference, GROUPS, leaf_rows=0)
    np.testing.assert_allclose(none.phi[10:], explanation.phi[10:])


def test_linear_model_matches_a_calculation_by_hand():
    """x̄ = (2, 10), sd = (1, 2): w·(x − x̄)/sd for x = (3, 6) is w₁·1 + w₂·(−2)."""
    X = np.array([[1.0, 8.0], [3.0, 12.0], [1.0, 12.0], [3.0, 8.0]])
    head = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, [0, 1, 0, 1])
    head[-1].coef_, head[-1].intercept_ = np.array([[0.5, -0.25]]), np.array([-1.0])
    explanation = contributions(
        LogOdds([head]), np.array([[3.0, 6.0]]), np.array([2.0, 10.0]), [[0], [1]]
    )
    np.testing.assert_allclose(explanation.phi, [[0.5, 0.5]])
    np.testing.assert_allclose([explanation.base, explanation.margin[0]], [-1.0, 0.0], atol=1e-12)
    assert explanation.error == 0


def test_ensemble_members_count_by_weight():
    """Each member uses one column; the member with all the weight gives all contributions."""
    X, reference = np.array([[0.9, 0.2], [0.6, 0.7]]), np.array([0.5, 0.5])
    both = LogOdds([ClosedForm(0).fit(X, np.array([0, 1])), ClosedForm(1).fit(X, np.array([0, 1]))])
    explanation = contributions(both, X, reference, [[0], [1]])
    assert (explanation.phi[0] * [1, -1] > 0).all()
    np.testing.assert_allclose(explanation.base, 0)
    np.testing.assert_allclose(explanation.phi.sum(axis=1), both.decision_function(X))
    # by hand: mean .55; each member changes the probability by half of x − .5; one common slope
    np.testing.assert_allclose(explanation.phi[0, 0] / explanation.phi[0, 1], 0.4 / -0.3)


def test_unknown_blends_get_sampled_values(data):
    class Blend(LogOdds):
        def predict_proba(self, X):
            chance = 1 / (1 + np.exp(-np.nan_to_num(X[:, 0]) * 2))
            return np.column_stack([1 - chance, chance])

    X, y, reference = data
    member = fitted("logistic", X, y).members[0]
    explanation = contributions(Blend([member]), X[:20], reference, GROUPS)
    assert explanation.methods == ("sampled Shapley values",)
    assert_adds_up(explanation, 2 * np.nan_to_num(X[:20, 0]))
    np.testing.assert_allclose(explanation.phi[:, 2:], 0, atol=1e-9)


@pytest.mark.nightly
def test_calibrated_weights_keep_order_and_add_up(shop, trained):
    from scipy.special import logit

    from retention.churn.explaining.reasons import calibration_slope, group_weights, uncalibrated
    from retention.churn.score import score
    from retention.churn.snapshots import take_snapshot

    window = Window(21, 42)
    X = take_snapshot(shop.lake, shop.end, labelled=False, window=window).matrix(trained.columns)
    weights = group_weights(trained, X)
    total = sum(weights.by_group.values())
    chance = trained.probability(X)
    assert calibration_slope(trained.model) > 0
    base = logit(chance) - total
    clear = (chance > 1e-3) & (chance < 1 - 1e-3)
    np.testing.assert_allclose(base[clear], base[clear][0], atol=1e-6)
    assert weights.methods == ("exact w·(x − mean)",)
    assert uncalibrated(trained.model).members
    first, second = (score(trained, shop.lake, shop.end)[0] for _ in range(2))
    assert list(first.reasons) == list(second.reasons)
    assert (first.reasons.map(len) <= 6).all()
    texts = first.reasons.map(lambda values: [reason["feature"] for reason in values])
    assert all(len(set(features)) == len(features) for features in texts)
