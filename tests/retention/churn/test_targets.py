"""Tests of purchase intent on the tiny shop."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from retention.churn import targets
from retention.churn.model import fit
from retention.churn.population import population
from retention.churn.snapshots import days_to_next_purchase, take_snapshot
from retention.churn.training_set import build_training_set
from retention.value import purchase_intent
from retention.window import Window
from tests import shop as tiny

# All tests share one training.
pytestmark = pytest.mark.nightly

WINDOW = Window(21, 42)


@pytest.fixture(scope="module")
def cutoff(shop):
    return shop.begin + timedelta(days=160)


@pytest.fixture(scope="module")
def training(shop, cutoff):
    return build_training_set(shop.lake, cutoff=cutoff, window=WINDOW)


@pytest.fixture(scope="module")
def trained(shop, training):
    model = fit(training, model="logistic")
    held = targets.fit_intent(shop.lake, training, model.columns)
    return replace(model, parameters={**model.parameters, targets.PARAMETER: held})


def test_future_events_change_no_intent_model(cutoff, training, trained, tmp_path):
    blind = tiny.build(tmp_path / "home", until=cutoff).lake
    expected = trained.parameters[targets.PARAMETER]
    assert targets.fit_intent(blind, training, trained.columns) == expected


def test_days_to_next_purchase_match_the_labels(shop, cutoff):
    snapshot = take_snapshot(shop.lake, cutoff, window=WINDOW)
    customers = snapshot.frame.customer_id
    wait = days_to_next_purchase(shop.lake, customers, cutoff, cutoff + timedelta(days=21))
    np.testing.assert_array_equal(np.isinf(wait), snapshot.churned == 1)


def test_intent_beats_the_base_rate_and_is_stored(shop, cutoff, trained):
    again = type(trained).from_bytes(trained.to_bytes())
    people = population(shop.lake, cutoff, window=WINDOW)
    aims = targets.predict_targets(again, people, history_days=160)
    for days in (7, 30):
        y = (
            days_to_next_purchase(shop.lake, people.frame.customer_id, people.cutoff, shop.end)
            < days
        ).astype(float)
        p = np.clip(aims.within[days], 1e-6, 1 - 1e-6)
        loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
        base = -np.mean(y * np.log(y.mean()) + (1 - y) * np.log(1 - y.mean()))
        assert loss < base
    assert (aims.within[7] < aims.within[30]).all()
    assert (aims.within[30] < aims.within[90]).all()
    customer = aims.of(0, cutoff)
    assert list(customer["intent"]) == ["7d", "30d", "90d"]
    early, late = customer["next_order_between"]
    assert cutoff.isoformat() < early < customer["next_order_at"] < late


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("horizon", [21, 30, 120])
def test_intent_agrees_with_churn_and_grows_with_the_horizon(shop, cutoff, trained, horizon):
    """Also if the hazards end before the churn horizon."""
    people = population(shop.lake, cutoff, window=WINDOW)
    model = replace(trained, horizon_days=horizon)
    aims = targets.predict_targets(model, people, history_days=160)
    order = 1 - model.predict(people)
    if horizon == 30:
        np.testing.assert_allclose(aims.within[30], order, atol=1e-6)
    for days, p in aims.within.items():
        assert (p <= order + 1e-6).all() if days <= horizon else (p >= order - 1e-6).all()
    assert (aims.early < aims.middle).all()
    assert (aims.middle < aims.late).all()


def test_lapsed_customers_get_the_closed_form(shop, cutoff, trained):
    """The fitted model promised ten times the actual orders of customers silent for a year."""
    everybody = population(shop.lake, cutoff, Window(WINDOW.horizon_days, None))
    lapsed = (everybody.frame.recency_days > WINDOW.active_within_days).to_numpy()
    closed = targets._closed_form_hazards(everybody)
    alone = purchase_intent.Intent.from_dict(trained.parameters[targets.PARAMETER]).hazards(
        everybody.matrix(trained.columns), closed
    )
    none = everybody.purchases.no_purchase(*targets.purchase_history(everybody.frame), 30.0)
    aims = targets.predict_targets(trained, everybody, history_days=160)
    assert 0 < lapsed.sum() < len(lapsed)
    np.testing.assert_allclose(aims.within[30][lapsed], 1 - none[lapsed])
    assert not np.allclose(
        aims.within[30][~lapsed], purchase_intent.order_probability(alone, 30)[~lapsed]
    )


def test_closed_form_without_a_model(shop, cutoff, trained):
    people = population(shop.lake, cutoff, window=WINDOW)
    by_rules = targets.predict_targets(None, people, history_days=160)
    none = people.purchases.no_purchase(*targets.purchase_history(people.frame), 30.0)
    assert by_rules.within[30] == pytest.approx(1 - none)


def test_short_history_gives_a_note(shop, cutoff, trained):
    people = population(shop.lake, cutoff, window=WINDOW)
    customer = targets.predict_targets(trained, people, history_days=60).of(0, cutoff)
    assert customer["intent"] is customer["next_order_between"] is None
    assert customer["intent_note"] == "Purchase intent needs 90 days of history, and there are 60."


def test_many_rows_are_thinned_evenly(shop, training, monkeypatch):
    sizes = []

    def fit(columns, samples):
        sizes.append([len(sample.X) for sample in samples])
        return SimpleNamespace(as_dict=dict)

    monkeypatch.setattr(targets.purchase_intent, "fit", fit)
    targets.fit_intent(shop.lake, training, training.columns)
    monkeypatch.setattr(targets, "MAX_INTENT_ROWS", sum(sizes[0]) / 4)
    targets.fit_intent(shop.lake, training, training.columns)
    assert sizes[1] == [-(-size // 4) for size in sizes[0]]
