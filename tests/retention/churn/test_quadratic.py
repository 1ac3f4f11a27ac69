"""Tests of logistic regression on products of features."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retention.churn.quadratic import Quadratic


@pytest.fixture(scope="module")
def question():
    """Who churns is told by the product of two of four features."""
    rng = np.random.default_rng(4)
    Z = rng.normal(size=(2000, 4))
    return Z, (rng.random(2000) < 1 / (1 + np.exp(-2 * Z[:, 0] * Z[:, 1]))).astype(float)


def test_quadratic_form_equals_the_kernel_model(question):
    Z, y = question
    fitted = Quadratic(C=0.1, gamma=0.2, landmarks=12, random_state=3).fit(Z, y)
    kernel = Nystroem(kernel="poly", degree=2, gamma=0.2, coef0=1, n_components=12, random_state=3)
    head = LogisticRegression(C=0.1, max_iter=2000)
    expected = make_pipeline(kernel, StandardScaler(), head).fit(Z, y).decision_function(Z)
    np.testing.assert_allclose(fitted.decision_function(Z), expected, atol=1e-6)
    assert (fitted.predict(Z) == (expected >= 0)).mean() > 0.999
    np.testing.assert_allclose(fitted.products_, fitted.products_.T)


def test_learns_interactions(question):
    Z, y = question
    plain = LogisticRegression().fit(Z[:1000], y[:1000])
    both = Quadratic(C=0.1, gamma=0.2).fit(Z[:1000], y[:1000])
    assert roc_auc_score(y[1000:], plain.predict_proba(Z[1000:])[:, 1]) < 0.6
    assert roc_auc_score(y[1000:], both.predict_proba(Z[1000:])[:, 1]) > 0.75


def test_contributions_are_shapley_values(question):
    fitted = Quadratic(C=0.1).fit(*question)
    z = np.array([1.5, -0.7, 0.2, 2.0])
    steps = np.zeros((24, 4))
    for number, order in enumerate(permutations(range(4))):
        revealed = np.zeros((5, 4))
        for place, feature in enumerate(order):
            revealed[place + 1 :, feature] = z[feature]
        steps[number, list(order)] = np.diff(fitted.decision_function(revealed))
    np.testing.assert_allclose(fitted.contributions(z[None])[0], steps.mean(axis=0), atol=1e-9)


def test_fits_fewer_rows_than_landmarks():
    Z = np.array([[-1.0, 0.0], [1.0, 0.0], [-1.0, 1.0], [1.0, 1.0]])
    probabilities = Quadratic(C=1).fit(Z, np.array([0.0, 1.0, 0.0, 1.0])).predict_proba(Z)[:, 1]
    assert (probabilities[[1, 3]] > probabilities[[0, 2]]).all()
