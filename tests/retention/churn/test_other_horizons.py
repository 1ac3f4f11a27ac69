"""Tests of classifiers for half and twice the horizon."""

from datetime import timedelta

import numpy as np
import pytest

from retention.churn import estimators
from retention.churn.explaining.contributions import contributions
from retention.churn.snapshots import take_labelled_snapshots, take_snapshot
from retention.churn.training_set import stacked_observed_horizons
from retention.features.availability import unknown_features
from retention.window import Window
from tests.retention.churn.models import assert_adds_up

H, ACTIVE = 21, 42


@pytest.fixture(scope="module")
def customers():
    """Simulate return rates from two of twelve features.

    Half of the customers are observed for two horizons.
    """
    rng = np.random.default_rng(8)
    X = rng.normal(size=(2000, 12))
    rate = np.exp(0.4 + X[:, 0] - 0.5 * X[:, 1])
    return_times, observed = rng.exponential(1 / rate), np.repeat([2.0, 1.0], 1000)
    return_times[return_times >= observed] = np.inf
    return X, return_times, observed, np.exp(-rate)


def _member(customers, **changed):
    X, return_times, observed, _ = customers
    arguments = {"return_times": return_times, "observed_horizons": observed} | changed
    examples = estimators.Examples(X, (return_times >= 1).astype(float), **arguments)
    return estimators.fit_member("horizons", examples)


def test_other_horizons_are_calibrated_to_the_horizon(customers):
    X, return_times, _, truth = customers
    member = _member(customers)
    assert len(member.members) == 2
    for part in member.members:
        expected = pytest.approx((return_times >= 1).mean(), abs=1e-3)
        assert part.predict_proba(X)[:, 1].mean() == expected
        assert np.corrcoef(part.predict_proba(X)[:, 1], truth)[0, 1] > 0.9


def test_other_horizons_improve_the_mean(customers):
    X, return_times, _, truth = customers
    examples = estimators.Examples(X, (return_times >= 1).astype(float), return_times=return_times)
    itself = estimators.churn_probability(estimators.fit_member("quadratic", examples), X)
    both = (itself + estimators.churn_probability(_member(customers), X)) / 2
    assert np.mean((both - truth) ** 2) < np.mean((itself - truth) ** 2)


def test_twice_the_horizon_uses_only_observed_customers(customers):
    _, return_times, observed, _ = customers
    unknown = np.where((observed < 2) & (return_times >= 1), np.inf, return_times)
    # What came of them later changes nothing
    different = np.where((observed < 2) & (return_times >= 1), 1.5, return_times)
    first, second = (_member(customers, return_times=times) for times in (unknown, different))
    np.testing.assert_array_equal(*(m.predict_proba(customers[0]) for m in (first, second)))
    assert len(_member(customers, observed_horizons=None).members) == 1


def test_falls_back_to_the_horizon_without_outcomes(customers):
    X, return_times, _, _ = customers
    y = (return_times >= 1).astype(float)
    # Nobody came back early, nobody was observed_horizons for long
    late = np.where(return_times < 1, 0.9, np.inf)
    member = estimators.fit_member("horizons", estimators.Examples(X, y, return_times=late))
    plain = estimators.fit_member("quadratic", estimators.Examples(X, y))
    np.testing.assert_array_equal(member.predict_proba(X), plain.predict_proba(X))


def test_base_and_contributions_add_up_to_the_margin(customers):
    X, return_times, _, _ = customers
    examples = estimators.Examples(X, (return_times >= 1).astype(float), return_times=return_times)
    logistic = estimators.fit_member("logistic", examples)
    model = estimators.LogOdds([logistic, _member(customers)], [0.25, 0.75])
    explanation = contributions(model, X[:50], np.median(X, axis=0), [list(range(12))])
    assert_adds_up(explanation, model.decision_function(X[:50]))
    assert explanation.error == 0


def test_second_horizon_is_observed_only_if_it_is_over(shop):
    moment, horizon = shop.begin + timedelta(days=80), timedelta(days=H)
    window, unknown = Window(H, ACTIVE), unknown_features(shop.lake, moment)
    alone = take_snapshot(shop.lake, moment, window=window)
    (early,), (late,) = (
        take_labelled_snapshots(
            shop.lake, [moment], window, seasonal=False, until=moment + n * horizon, unknown=unknown
        )
        for n in (1.9, 2)
    )
    assert (alone.observed_horizons, early.observed_horizons, late.observed_horizons) == (1, 1, 2)
    np.testing.assert_array_equal(alone.return_times, early.return_times)
    np.testing.assert_array_equal(alone.churned, late.churned)
    back = alone.churned == 0
    np.testing.assert_array_equal(alone.return_times[back], late.return_times[back])
    again = late.return_times[np.isfinite(late.return_times) & ~back]
    assert len(again)
    assert ((again >= 1) & (again < 2)).all()


@pytest.mark.nightly
def test_past_origins_do_not_see_later_second_horizons(training):
    for moment in (training.cutoff, training.newest.cutoff):
        known = training.before(moment)
        rows = stacked_observed_horizons(known, H)
        moments = [
            np.full(len(snapshot.frame), snapshot.cutoff + timedelta(days=2 * H))
            for snapshot in known
        ]
        ends = np.concatenate(moments)
        assert set(rows) == {1.0, 2.0}
        assert (ends[rows == 2] <= moment).all()


def test_other_horizons_join_the_ensemble_but_no_stack():
    assert "horizons" in estimators.members_of("ensemble")
    for members in (estimators.ENSEMBLE, (*estimators.ENSEMBLE, "bg_nbd", "bg_season")):
        assert "horizons" not in estimators.stack_members(members)
