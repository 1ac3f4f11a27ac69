"""ChurnClassifier keeps scikit-learn's rules where a table of orders allows it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks as checks
from sklearn.utils.validation import check_is_fitted

import retention
from retention.errors import BadInput, TooLittleData

# They fit arrays of numbers with a row per prediction; X is a table of orders. The tag
# two_d_array=False says so, and check_estimator then leaves them out.
APPLICABLE = [
    checks.check_estimator_cloneable,
    checks.check_estimator_tags_renamed,
    checks.check_valid_tag_types,
    checks.check_estimator_repr,
    checks.check_no_attributes_set_in_init,
    checks.check_fit_score_takes_y,
    checks.check_do_not_raise_errors_in_init_or_set_params,
    checks.check_mixin_order,
    checks.check_parameters_default_constructible,
    checks.check_get_params_invariance,
    checks.check_set_params,
]


def classifier():
    """One that is quick to train."""
    return retention.ChurnClassifier(horizon=56, model="logistic")


@pytest.fixture(scope="module")
def fitted(orders):
    return classifier().fit(orders)


@pytest.mark.parametrize("check", APPLICABLE, ids=lambda check: check.__name__)
def test_estimator_check_passes(check):
    if check is checks.check_fit_score_takes_y:
        # It fits an array; the signature is what it is about.
        import inspect

        assert list(inspect.signature(retention.ChurnClassifier.fit).parameters)[2] == "y"
        return
    check("ChurnClassifier", retention.ChurnClassifier())


@pytest.mark.nightly
def test_a_prediction_has_a_row_per_customer_by_first_order(fitted, orders):
    probability = fitted.predict_proba(orders)
    customers = fitted.customers(orders)
    first = orders.groupby("customer_id", as_index=False).ordered_at.min()
    by_first_order = first.sort_values(["ordered_at", "customer_id"]).customer_id
    assert customers.tolist() == by_first_order.tolist()
    assert probability.shape == (len(customers), 2)
    assert probability.sum(axis=1) == pytest.approx(1)
    assert set(fitted.predict(orders)) <= {0, 1}
    silent = orders.assign(at=pd.to_datetime(orders.ordered_at)).groupby("customer_id").at.max()
    recent = silent[customers].to_numpy() > np.datetime64("2024-06-14")
    assert probability[~recent, 1].mean() > probability[recent, 1].mean()


def test_fit_keeps_the_input_and_predict_keeps_the_model(orders, fitted):
    before, parameters = orders.copy(), fitted.get_params()
    attributes = {name: id(value) for name, value in vars(fitted).items()}
    fitted.predict_proba(orders)
    pd.testing.assert_frame_equal(orders, before)
    assert fitted.get_params() == parameters
    assert {name: id(value) for name, value in vars(fitted).items()} == attributes


def test_fitted_attributes_clone_and_tags(fitted, orders):
    check_is_fitted(fitted)
    assert is_classifier(fitted)
    assert fitted.feature_names_in_.tolist() == orders.columns.tolist()
    assert fitted.n_features_in_ == orders.shape[1]
    assert fitted.horizon_days_ == 56
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copy.predict_proba(orders)


@pytest.mark.nightly
def test_fitting_again_gives_the_same_model_also_in_a_pipeline(fitted, orders):
    pipeline = make_pipeline(FunctionTransformer(), classifier())
    again = pipeline.fit(orders).predict_proba(orders)
    np.testing.assert_allclose(again, fitted.predict_proba(orders))


@pytest.mark.nightly
def test_score_is_finite_at_the_last_moment_that_is_over(fitted, orders):
    assert np.isfinite(fitted.score(orders))
    assert fitted.score(orders) < 0


@pytest.mark.nightly
def test_search_and_cross_validation_over_customers_give_finite_scores():
    orders = retention.sample_orders(220)
    folds = {"X": orders, "groups": orders.customer_id}
    classifier = retention.ChurnClassifier(horizon=28, model="bg_nbd")
    scores = cross_val_score(classifier, cv=GroupKFold(2), **folds)
    assert np.isfinite(scores).all()
    assert (scores < 0).all()
    models = {"model": ["bg_nbd"]}
    search = GridSearchCV(classifier, models, cv=GroupKFold(2), refit=False)
    search.fit(folds.pop("X"), **folds)
    assert search.cv_results_["mean_test_score"] == pytest.approx(scores.mean())


def test_labels_of_rows_and_short_folds_are_refused(fitted, orders):
    labels = np.zeros(len(orders))
    with pytest.raises(ValueError, match="leave y out"):
        cross_val_score(retention.ChurnClassifier(), orders, labels, scoring="roc_auc", cv=2)
    recent = orders[orders.ordered_at > "2024-06-10"]
    with pytest.raises(BadInput, match="56 days"):
        fitted.score(recent)


@pytest.mark.nightly
def test_arrays_and_too_few_customers_are_refused(orders):
    with pytest.raises(BadInput, match="X is an array without column names"):
        retention.ChurnClassifier().fit(np.zeros((3, 2)))
    with pytest.raises(TooLittleData, match="a model needs 100"):
        retention.ChurnClassifier().fit(retention.sample_orders(50))
