"""Tests of churn classifiers that use return times."""

from datetime import timedelta

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from retention.churn import estimators
from retention.churn.explaining.contributions import contributions
from retention.churn.hazards import EDGES, Survival, fit_survival
from retention.churn.snapshots import take_snapshot
from retention.progress import silent
from retention.window import Window
from tests.retention.churn.models import assert_adds_up, fitted


@pytest.fixture(scope="module")
def customers():
    """Everyone comes back at a rate of their own; 30 features, of which two tell the rate."""
    rng = np.random.default_rng(8)
    X = rng.normal(size=(1500, 30))
    rate = np.exp(0.8 + X[:, 0] - 0.5 * X[:, 1])
    return_times = rng.exponential(1 / rate)
    return_times[return_times >= 1] = np.inf
    return X, return_times, np.exp(-rate)


@pytest.fixture(scope="module", params=estimators.SURVIVAL_MEMBERS)
def timed(request, customers):
    """A member that learned from return times, and its name."""
    X, return_times, _ = customers
    return _member(request.param, X, return_times), request.param


def _member(name, X, return_times, *, timed=True):
    examples = estimators.Examples(
        X, np.isinf(return_times).astype(float), return_times=return_times if timed else None
    )
    return estimators.fit_member(name, examples)


def test_return_times_improve_predictions(customers, timed):
    X, return_times, truth = customers
    model, name = timed
    assert isinstance(model, Survival)
    ours, theirs = (
        np.mean((estimators.churn_probability(each, X) - truth) ** 2)
        for each in (model, _member(name, X, return_times, timed=False))
    )
    assert ours < 0.97 * theirs


@pytest.mark.parametrize("name", estimators.SURVIVAL_MEMBERS)
def test_empty_columns_in_an_interval_do_not_stop_the_fit(customers, name):
    """The last interval has a column without values, such as a gap of early returners."""
    X, return_times, _ = customers
    X = np.column_stack([X, np.where(return_times < EDGES[0], 1.0, np.nan)])
    model = _member(name, X, return_times)
    assert np.isfinite(estimators.churn_probability(model, X)).all()


def test_base_and_contributions_add_up_to_the_margin(customers, timed):
    X, model = customers[0], estimators.LogOdds([timed[0]])
    explanation = contributions(
        model, X[:50], np.median(X, axis=0), [list(range(15)), list(range(15, 30))]
    )
    assert_adds_up(explanation, model.decision_function(X[:50]))
    assert explanation.error == 0
    risk = explanation.phi[:, 0]  # who has a high rate is less at risk
    assert np.corrcoef(risk, X[:50, 0])[0, 1] < -0.9


def test_intervals_use_customers_at_risk_and_multiply(customers):
    X, return_times, _ = customers
    calls = []

    def fit(X, y, progress):
        calls.append((len(y), y.mean()))
        return LogisticRegression().fit(X, y)

    model = fit_survival(fit, X, return_times, silent)
    assert isinstance(model, Survival)
    early = return_times >= EDGES[0]
    assert calls == [(1500, early.mean()), (early.sum(), np.isinf(return_times[early]).mean())]
    by_hand = np.prod([stretch.predict_proba(X)[:, 1] for stretch in model.stretches], axis=0)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], by_hand)


def test_few_outcomes_use_the_whole_horizon(customers):
    X, return_times, _ = customers
    late = np.where(np.isinf(return_times), return_times, 0.9)  # nobody comes back early
    assert fit_survival(lambda *_: LogisticRegression(), X, late, silent) is None
    same, plain = (_member("logistic", X, late, timed=timed) for timed in (True, False))
    np.testing.assert_array_equal(same.predict_proba(X), plain.predict_proba(X))


@pytest.mark.nightly
def test_churned_customers_have_no_return_in_the_horizon(shop):
    snapshot = take_snapshot(shop.lake, shop.end - timedelta(days=40), window=Window(28, None))
    np.testing.assert_array_equal(np.isinf(snapshot.return_times), snapshot.churned == 1)
    back = snapshot.return_times[np.isfinite(snapshot.return_times)]
    assert ((back >= 0) & (back < 1)).all()
    some = snapshot.rows(snapshot.churned == 1)
    assert np.isinf(some.return_times).all()


def test_rare_values_do_not_dominate_predictions():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(300, 40))
    X[:, 5] = 0
    X[7, 5] = 1e-3  # one customer, a trifle
    y = (rng.random(300) < 0.2).astype(float)
    model = fitted("logistic", X, y)
    far = np.zeros((1, 40))
    usual = model.predict_proba(far)[0, 1]
    far[0, 5] = 50.0
    assert abs(model.predict_proba(far)[0, 1] - usual) < 0.1


def test_logistic_regression_is_cautious_with_few_customers():
    """With 300 customers and 90 features, it beats the base rate on other customers."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(600, 90))
    y = (rng.random(600) < np.where(X[:, 0] > 1, 0.6, 0.1)).astype(float)
    model = fitted("logistic", X[:300], y[:300])
    p, base = model.predict_proba(X[300:])[:, 1], y[:300].mean()
    ours, plain = (
        -np.mean(y[300:] * np.log(probability) + (1 - y[300:]) * np.log(1 - probability))
        for probability in (p, base)
    )
    assert ours < plain
