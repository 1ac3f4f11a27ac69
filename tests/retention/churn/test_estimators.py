"""Tests of all estimators on a simple problem."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from retention.churn import estimators
from retention.errors import Cancelled
from tests.retention.churn.models import fitted

COLUMNS = ("recency_days", "bg_no_purchase", "orders_all", "emails_1h")


@pytest.fixture(scope="module")
def question():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 4))
    y = (rng.random(1500) < np.where(X[:, 0] > 0, 0.8, 0.1)).astype(float)
    X[rng.random(X.shape) < 0.05] = np.nan
    X[:, 1] = np.where(np.nan_to_num(X[:, 0]) > 0, 0.8, 0.1)  # the closed form's word
    X[:, 3] = np.nan  # nobody has it
    return X, y


@pytest.mark.nightly_after(8)
@pytest.mark.parametrize("name", estimators.ESTIMATORS)
def test_all_estimators_learn_and_predict_consistently(name, question):
    X, y = question
    steps = []
    record = lambda done, total, what: steps.append((done, total))  # noqa: E731
    model = fitted(name, X, y, columns=COLUMNS, seed=1, progress=record)
    probability = model.predict_proba(X)
    assert probability.shape == (1500, 2)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    assert (probability >= 0).all()
    assert (probability <= 1).all()
    high, low = X[:, 0] > 0.5, X[:, 0] < -0.5
    assert probability[high, 1].mean() > probability[low, 1].mean() + 0.3
    np.testing.assert_allclose(
        1 / (1 + np.exp(-model.decision_function(X))), probability[:, 1], atol=1e-5
    )
    company = np.vstack([X[:50], np.full((200, 4), 1e6)])  # nothing is imputed from it
    np.testing.assert_allclose(model.predict_proba(company)[:50], probability[:50], atol=1e-9)
    again = fitted(name, X, y, columns=COLUMNS, seed=1)
    np.testing.assert_array_equal(again.predict_proba(X), probability)
    assert steps
    assert all(0 <= done <= total for done, total in steps)


@pytest.mark.parametrize("name", estimators.ESTIMATORS)
def test_cancelled_fit_stops(name, question):
    def stop(done, total, what):
        raise Cancelled

    with pytest.raises(Cancelled):
        fitted(name, *question, columns=COLUMNS, progress=stop)


def test_blend_weights_prefer_the_better_member():
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.05, 0.95, 4000)
    y = (rng.random(4000) < truth).astype(float)
    weights = estimators.blend_weights(np.array([truth, np.full(4000, y.mean())]), y)
    assert weights.sum() == pytest.approx(1)
    assert weights[0] > 0.8
    same = estimators.blend_weights(np.array([truth, truth]), y)
    np.testing.assert_allclose(same, 0.5)


def test_scaling_equals_that_of_a_pipeline_fitted_on_all_rows():
    rng = np.random.default_rng(0)
    X = rng.gamma(1, 3, (301, 6))
    X[rng.random(X.shape) < 0.2] = np.nan
    X[:, 1] = np.nan  # empty
    X[:, 2] = 7.0  # constant
    X[:, 3] = np.nan_to_num(X[:, 3])  # complete
    rows = estimators.prepare(X)
    X[:, 1] = 0.0  # as an empty column counts
    pipeline = make_pipeline(*estimators._scaled()).fit(X)
    Z = pipeline.transform(X)
    np.testing.assert_allclose(rows.scaled, Z, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(make_pipeline(*rows.steps).transform(X), Z, rtol=1e-12, atol=1e-12)
    some = X[:, 0] > 3
    np.testing.assert_array_equal(rows[some].scaled, rows.scaled[some])
    np.testing.assert_array_equal(rows[some].X, X[some])


@pytest.mark.parametrize("name", estimators.CALENDAR)
def test_calendar_models_use_the_day_of_the_year(name):
    """Customers differ by nothing else; columns that they do not know change nothing."""
    columns = ("emails_1h", "season_sin", "season_cos", "recency_days")
    rng = np.random.default_rng(3)
    angle = rng.uniform(0, 2 * np.pi, 3000)
    X = np.column_stack([rng.normal(size=3000), np.sin(angle), np.cos(angle), np.ones(3000)])
    y = (rng.random(3000) < np.where(np.sin(angle) > 0, 0.7, 0.2)).astype(float)
    model = fitted(name, X, y, columns=columns)
    asked = np.array([[0.0, 1.0, 0.0, 1.0], [0.0, -1.0, 0.0, 1.0]])
    high, low = model.predict_proba(asked)[:, 1]
    assert high > low + 0.3
    asked[:, 0] = 50.0
    np.testing.assert_array_equal(model.predict_proba(asked)[:, 1], [high, low])
