"""Tests of candidate sets and of the choice among evaluated candidates."""

from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from retention.churn.estimators import stack_members
from retention.churn.model_selection import select_candidates
from retention.churn.rolling import (
    EvaluatedCandidate,
    OriginPredictions,
    choose_candidate,
    lead_of_plain,
    not_worse_than_closed_forms,
)
from retention.churn.snapshots import Snapshot
from retention.value import bgnbd, hidden_markov

NO_STATES = hidden_markov.fit(np.zeros((0, 1), dtype=int), np.zeros(0, dtype=int))


@pytest.fixture
def make_predictions():
    """Return predictions of an accurate and a noisy member."""

    def make(noise):
        rng = np.random.default_rng(6)
        odds = rng.normal(-1.5, 1.2, 1500)
        labels = (rng.random(1500) < 1 / (1 + np.exp(-odds))).astype(float)
        frame = pd.DataFrame({"customer_id": [f"c{number}" for number in range(1500)]})
        snapshot = Snapshot(
            datetime(2025, 1, 1, tzinfo=UTC),
            frame,
            labels,
            1500,
            bgnbd.BgNbd(1, 1, 1, 1),
            NO_STATES,
            None,
        )
        probabilities = {
            "boosting": 1 / (1 + np.exp(-odds)),
            "logistic": 1 / (1 + np.exp(-odds - rng.normal(0, noise, 1500))),
        }
        return [OriginPredictions(snapshot, probabilities, labels)]

    return make


def choice(name, loss, *members):
    return EvaluatedCandidate(name, members or (name,), None, loss)


def test_blend_beats_a_slightly_better_single_model():
    """A single model's lead at one origin is mostly luck."""
    blend, boosting, closed = (
        choice("stacked", 0.301, "boosting", "bg_nbd"),
        choice("boosting", 0.300),
        choice("bg_nbd", 0.29),
    )
    assert choose_candidate([blend, boosting]) is blend
    assert choose_candidate([blend, boosting, closed]) is blend


def test_far_better_single_model_is_chosen():
    blend, boosting = choice("stacked", 0.35, "boosting", "bg_nbd"), choice("boosting", 0.300)
    assert choose_candidate([blend, boosting]) is boosting


def test_better_of_two_blends_is_chosen():
    stack, ensemble = (
        choice("stacked", 0.302, "boosting", "bg_nbd"),
        choice("ensemble", 0.301, "boosting", "logistic"),
    )
    assert choose_candidate([stack, ensemble, choice("bg_nbd", 0.3)]) is ensemble
    assert choose_candidate([stack, choice("ensemble", 0.303, "boosting", "logistic")]) is stack


def test_best_model_is_chosen_without_a_blend():
    best = choice("boosting", 0.300)
    assert choose_candidate([choice("bg_nbd", 0.4), best]) is best
    assert choose_candidate([best]) is best


@pytest.mark.parametrize(
    ("churners", "horizon", "blend_only"),
    [
        (12, 28, {"logistic", "boosting"}),
        (8, 28, set()),
        (12, 90, set()),
    ],
)
def test_below_500_buyers_learned_members_only_join_the_blend(churners, horizon, blend_only):
    """They need a hundred churners and eight horizons of history."""
    newest = SimpleNamespace(buyers=300, cutoff=datetime(2025, 1, 1, tzinfo=UTC))
    snapshots = [SimpleNamespace(churned=np.repeat([0.0, 1.0], [200, churners]))] * 10
    shop = SimpleNamespace(
        newest=newest, snapshots=snapshots, history_days=340, has_season=False, horizon_days=horizon
    )
    selection = select_candidates(shop)
    assert set(selection.members) - set(selection.candidates) == blend_only
    assert set(stack_members(selection.members)) == blend_only | {"bg_nbd", "bg_logistic"}
    assert "500 buyers (have 300)" in selection.text
    assert ("has a say in the blend" in selection.text) == bool(blend_only)


def test_stack_members_use_the_season_and_more_than_rfm():
    members = ("logistic", "quadratic", "bg_nbd", "rfm_logistic", "bg_logistic", "bg_season")
    assert stack_members(members) == ("logistic", "bg_logistic", "bg_season")
    calendar = ("calendar_logistic", "calendar_boosting")
    assert stack_members((*members, *calendar))[-2:] == calendar
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
    members = not_worse_than_closed_forms(
        tuple(probabilities), OriginPredictions(origin.snapshot, probabilities, origin.labels)
    )
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


def test_strong_season_keeps_the_plain_logistic_as_a_candidate():
    newest = SimpleNamespace(buyers=300, cutoff=datetime(2025, 1, 1, tzinfo=UTC))
    snapshots = [SimpleNamespace(churned=np.repeat([0.0, 1.0], [200, 50]))] * 10
    shop = SimpleNamespace(
        newest=newest,
        snapshots=snapshots,
        history_days=700,
        has_season=True,
        horizon_days=28,
        swing=0.5,
    )
    assert "rfm_logistic" in select_candidates(shop).candidates
