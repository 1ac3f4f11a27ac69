"""Churn asked of half the horizon and of twice: what is learned from, what it is brought to, and that nothing sees further than it may."""

from datetime import timedelta

import numpy as np
import pytest

from retention.churn import estimators
from retention.churn.contributions import contributions
from retention.churn.snapshots import build_training_set, stacked_observed_horizons, take_snapshot

H, ACTIVE = 21, 42


@pytest.fixture(scope="module")
def customers():
    """Everyone comes back at a rate that two of twelve features tell; the first half was observed_horizons for two horizons."""
    rng = np.random.default_rng(8)
    X = rng.normal(size=(2000, 12))
    rate = np.exp(0.4 + X[:, 0] - 0.5 * X[:, 1])
    return_times, seen = rng.exponential(1 / rate), np.repeat([2.0, 1.0], 1000)
    return_times[return_times >= seen] = np.inf
    return X, return_times, seen, np.exp(-rate)


def _member(customers, **changed):
    X, return_times, seen, _ = customers
    given = {"return_times": return_times, "observed_horizons": seen} | changed
    return estimators.fit_member("horizons", X, (return_times >= 1).astype(float), **given)


def test_both_neighbours_say_how_many_do_not_come_back_within_the_horizon_itself(customers):
    X, return_times, _, truth = customers
    member = _member(customers)
    assert len(member.members) == 2
    for one in member.members:
        assert one.predict_proba(X)[:, 1].mean() == pytest.approx(
            (return_times >= 1).mean(), abs=1e-3
        )
        assert np.corrcoef(one.predict_proba(X)[:, 1], truth)[0, 1] > 0.9


def test_beside_the_horizon_itself_they_tell_more(customers):
    X, return_times, _, truth = customers
    itself = estimators.churn_probability(
        estimators.fit_member(
            "quadratic", X, (return_times >= 1).astype(float), return_times=return_times
        ),
        X,
    )
    both = (itself + estimators.churn_probability(_member(customers), X)) / 2
    assert np.mean((both - truth) ** 2) < np.mean((itself - truth) ** 2)


def test_twice_the_horizon_is_learned_from_those_who_were_followed_so_long(customers):
    _, return_times, seen, _ = customers
    unknown = np.where((seen < 2) & (return_times >= 1), np.inf, return_times)
    different = np.where(
        (seen < 2) & (return_times >= 1), 1.5, return_times
    )  # what came of them later changes nothing
    one, other = (_member(customers, return_times=given) for given in (unknown, different))
    np.testing.assert_array_equal(*(m.predict_proba(customers[0]) for m in (one, other)))
    assert len(_member(customers, observed_horizons=None).members) == 1


def test_without_outcomes_it_is_the_horizon_itself(customers):
    X, return_times, _, _ = customers
    y = (return_times >= 1).astype(float)
    late = np.where(
        return_times < 1, 0.9, np.inf
    )  # nobody came back early, nobody was observed_horizons for long
    member = estimators.fit_member("horizons", X, y, return_times=late)
    plain = estimators.fit_member("quadratic", X, y)
    np.testing.assert_array_equal(member.predict_proba(X), plain.predict_proba(X))


def test_base_and_contributions_add_up_to_the_margin(customers):
    X, return_times, _, _ = customers
    logistic = estimators.fit_member(
        "logistic", X, (return_times >= 1).astype(float), return_times=return_times
    )
    model = estimators.LogOdds([logistic, _member(customers)], [0.25, 0.75])
    found = contributions(model, X[:50], np.median(X, axis=0), [list(range(12))])
    np.testing.assert_allclose(found.margin, model.decision_function(X[:50]), atol=1e-6)
    np.testing.assert_allclose(found.base + found.phi.sum(axis=1), found.margin, atol=1e-6)
    assert found.error == 0


def test_a_snapshot_is_followed_for_a_second_horizon_only_where_that_is_over(shop):
    moment, horizon = shop.begin + timedelta(days=80), timedelta(days=H)
    alone = take_snapshot(shop.lake, moment, horizon_days=H, active_within_days=ACTIVE)
    early, late = (
        take_snapshot(
            shop.lake, moment, horizon_days=H, active_within_days=ACTIVE, until=moment + n * horizon
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


def test_an_origin_in_the_past_sees_no_second_horizon_that_was_not_over_then(shop):
    training = build_training_set(
        shop.lake,
        cutoff=shop.begin + timedelta(days=150),
        horizon_days=H,
        active_within_days=ACTIVE,
    )
    for moment in (training.cutoff, training.newest.cutoff):
        known = training.before(moment)
        rows = stacked_observed_horizons(known, H)
        ends = np.concatenate(
            [np.full(len(one.frame), one.cutoff + timedelta(days=2 * H)) for one in known]
        )
        assert set(rows) == {1.0, 2.0}
        assert (ends[rows == 2] <= moment).all()


def test_it_has_its_say_in_the_mean_of_the_ensemble_and_in_no_stack():
    assert "horizons" in estimators.members_of("ensemble")
    for members in (estimators.ENSEMBLE, (*estimators.ENSEMBLE, "bg_nbd", "bg_season")):
        assert "horizons" not in estimators.stack_members(members)
