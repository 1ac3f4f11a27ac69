"""Tests of candidate sets and of the choice among evaluated candidates."""

from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from retention.churn.estimators import CALENDAR, stack_members
from retention.churn.evaluation.rolling import (
    EvaluatedCandidate,
    OriginPredictions,
    choose_candidate,
    lead_of_plain,
    not_worse_than_closed_forms,
)
from retention.churn.model_selection import select_candidates
from retention.churn.season import MIN_DAYS
from retention.churn.snapshots import Snapshot
from retention.value import bgnbd


@pytest.fixture
def make_predictions():
    """Return predictions of an accurate and a noisy member."""

    def make(noise):
        rng = np.random.default_rng(6)
        odds = rng.normal(-1.5, 1.2, 1500)
        labels = (rng.random(1500) < 1 / (1 + np.exp(-odds))).astype(float)
        frame = pd.DataFrame({"customer_id": [f"c{number}" for number in range(1500)]})
        at, process = datetime(2025, 1, 1, tzinfo=UTC), bgnbd.BgNbd(1, 1, 1, 1)
        snapshot = Snapshot(at, frame, labels, 1500, process, None, None)
        probabilities = {
            "boosting": 1 / (1 + np.exp(-odds)),
            "logistic": 1 / (1 + np.exp(-odds - rng.normal(0, noise, 1500))),
        }
        return [OriginPredictions(snapshot, probabilities, labels)]

    return make


def shop_with(churners, buyers=300, **fields):
    """Return what is known of a training set with so many churners a snapshot."""
    newest = SimpleNamespace(buyers=buyers, cutoff=datetime(2025, 1, 1, tzinfo=UTC))
    snapshots = [SimpleNamespace(churned=np.repeat([0.0, 1.0], [200, churners]))] * 10
    return SimpleNamespace(newest=newest, snapshots=snapshots, **fields)


def choice(name, loss, *members):
    return EvaluatedCandidate(name, members or (name,), None, loss)


STACK, ENSEMBLE = ("boosting", "bg_nbd"), ("boosting", "logistic")


@pytest.mark.parametrize(
    ("losses", "chosen"),
    [
        # A single model's lead at one origin is mostly luck.
        ({"stacked": 0.301, "boosting": 0.300}, "stacked"),
        ({"stacked": 0.301, "boosting": 0.300, "bg_nbd": 0.29}, "stacked"),
        ({"stacked": 0.35, "boosting": 0.300}, "boosting"),  # far better
        ({"stacked": 0.302, "ensemble": 0.301, "bg_nbd": 0.3}, "ensemble"),
        ({"stacked": 0.302, "ensemble": 0.303}, "stacked"),
        ({"bg_nbd": 0.4, "boosting": 0.300}, "boosting"),  # no blend
        ({"boosting": 0.300}, "boosting"),
    ],
)
def test_best_blend_or_a_far_better_single_model_is_chosen(losses, chosen):
    members = {"stacked": STACK, "ensemble": ENSEMBLE}
    candidates = [choice(name, loss, *members.get(name, ())) for name, loss in losses.items()]
    assert choose_candidate(candidates).name == chosen


@pytest.mark.parametrize(
    ("churners", "horizon", "blend_only"),
    [(12, 28, {"logistic", "boosting"}), (8, 28, set()), (12, 90, set())],
)
def test_below_500_buyers_learned_members_only_join_the_blend(churners, horizon, blend_only):
    """They need a hundred churners and eight horizons of history."""
    shop = shop_with(churners, history_days=340, has_season=False, horizon_days=horizon)
    selection = select_candidates(shop)
    assert set(selection.members) - set(selection.candidates) == blend_only
    assert set(stack_members(selection.members)) == blend_only | {"bg_nbd", "bg_logistic"}
    assert "500 buyers (have 300)" in selection.text
    assert ("has a say in the blend" in selection.text) == bool(blend_only)


def test_stack_members_use_the_season_and_more_than_rfm():
    members = ("logistic", "quadratic", "bg_nbd", "rfm_logistic", "bg_logistic", "bg_season")
    assert stack_members(members) == ("logistic", "bg_logistic", "bg_season")
    assert stack_members((*members, *CALENDAR))[-2:] == CALENDAR
    assert stack_members(members[:-1]) == ("logistic", "quadratic", "bg_nbd", "bg_logistic")


def test_members_worse_than_closed_forms_are_dropped(make_predictions):
    """The remaining members get equal weights."""
    (origin,) = make_predictions(3.0)
    accurate, noisy = origin.probabilities["boosting"], origin.probabilities["logistic"]
    probabilities = {
        "bg_nbd": (accurate + noisy) / 2,
        "bg_season": noisy,
        "logistic": accurate,
        "rfm_logistic": noisy,
    }
    predictions = OriginPredictions(origin.snapshot, probabilities, origin.labels)
    members = not_worse_than_closed_forms(tuple(probabilities), predictions)
    assert members == ("bg_nbd", "bg_season", "logistic")


@pytest.mark.parametrize("log_loss", [0.3, float("nan")])
def test_plain_logistic_is_taken_only_if_better_beyond_chance(make_predictions, log_loss):
    """Without an earlier origin, the log-loss of a choice is unknown."""
    (origin,) = make_predictions(3.0)
    accurate, noisy = origin.probabilities["boosting"], origin.probabilities["logistic"]

    def lead(chosen, plain, forecasts=None):
        members = {"boosting": chosen, "rfm_logistic": plain}
        forecast = {**members, "boosting": forecasts} if forecasts is not None else {}
        predictions = OriginPredictions(origin.snapshot, members, origin.labels, forecast)
        return lead_of_plain(choice("boosting", log_loss), [predictions], method="sigmoid")

    assert lead(noisy, accurate).high < 0
    assert lead(accurate, noisy) is None
    assert lead(accurate, accurate) is None
    # The season that happened was not known.
    assert lead(accurate, accurate, forecasts=noisy).high < 0


@pytest.mark.parametrize(
    ("days", "swing", "included", "excluded"),
    [
        (300, 0.0, {"bg_nbd", "rfm_logistic", "ensemble"}, {"bg_season", "calendar_boosting"}),
        (500, 0.1, {"bg_nbd", "rfm_logistic", "bg_season", *CALENDAR}, {"ensemble"}),
        (500, -0.5, {"bg_season", "bg_logistic", "rfm_logistic", *CALENDAR}, {"bg_nbd"}),
    ],
)
def test_strong_season_excludes_candidates_without_it(days, swing, included, excluded):
    """No choice may be worse than the plain logistic regression, so it stays."""
    season = {"has_season": days >= MIN_DAYS, "swing": swing}
    shop = shop_with(200, 2000, history_days=days, horizon_days=28, **season)
    candidates = set(select_candidates(shop).candidates)
    assert candidates >= included | {"stacked"}
    assert not candidates & excluded
