"""Who is chosen on the rolling origins: a blend, unless a model alone is far better; and who has a say in it."""

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
    not_worse_than_closed_forms,
)
from retention.churn.snapshots import Snapshot
from retention.value import bgnbd, hidden_markov

NO_STATES = hidden_markov.fit(np.zeros((0, 1), dtype=int), np.zeros(0, dtype=int))


@pytest.fixture
def told():
    """Two members: one knows, the other is told with noise, a little or a lot."""

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
        said = {
            "boosting": 1 / (1 + np.exp(-odds)),
            "logistic": 1 / (1 + np.exp(-odds - rng.normal(0, noise, 1500))),
        }
        return [OriginPredictions(snapshot, said, labels)]

    return make


def choice(name, loss, *members):
    return EvaluatedCandidate(name, members or (name,), None, loss)


def test_a_model_alone_that_is_a_little_better_gives_way_to_the_blend():
    """Which of them was lucky at an origin says little of the next one, and their mean is never the unlucky one."""
    blend, boosting, closed = (
        choice("stacked", 0.301, "boosting", "bg_nbd"),
        choice("boosting", 0.300),
        choice("bg_nbd", 0.29),
    )
    assert choose_candidate([blend, boosting]) is blend
    assert choose_candidate([blend, boosting, closed]) is blend


def test_a_model_alone_that_is_far_better_is_taken():
    blend, boosting = choice("stacked", 0.35, "boosting", "bg_nbd"), choice("boosting", 0.300)
    assert choose_candidate([blend, boosting]) is boosting


def test_of_two_blends_the_better_one_is_taken():
    stack, ensemble = (
        choice("stacked", 0.302, "boosting", "bg_nbd"),
        choice("ensemble", 0.301, "boosting", "logistic"),
    )
    assert choose_candidate([stack, ensemble, choice("bg_nbd", 0.3)]) is ensemble
    assert choose_candidate([stack, choice("ensemble", 0.303, "boosting", "logistic")]) is stack


def test_where_there_is_no_blend_the_best_is_taken():
    best = choice("boosting", 0.300)
    assert choose_candidate([choice("bg_nbd", 0.4), best]) is best
    assert choose_candidate([best]) is best


@pytest.mark.parametrize(
    ("churners", "horizon", "heard"),
    [
        (12, 28, {"logistic", "boosting"}),
        (8, 28, set()),
        (12, 90, set()),
    ],
)
def test_below_500_buyers_what_learns_has_a_say_in_the_blend_and_is_never_taken_alone(
    churners, horizon, heard
):
    """Where there are a hundred churners, and eight horizons: ten looks at the same three are not much to learn from."""
    newest = SimpleNamespace(buyers=300, cutoff=datetime(2025, 1, 1, tzinfo=UTC))
    snapshots = [SimpleNamespace(churned=np.repeat([0.0, 1.0], [200, churners]))] * 10
    shop = SimpleNamespace(
        newest=newest, snapshots=snapshots, history_days=340, has_season=False, horizon_days=horizon
    )
    rung = select_candidates(shop)
    assert set(rung.members) - set(rung.candidates) == heard
    assert set(stack_members(rung.members)) == heard | {"bg_nbd", "bg_logistic"}
    assert "500 buyers (have 300)" in rung.text
    assert ("has a say in the blend" in rung.text) == bool(heard)


def test_what_the_blend_is_made_of_knows_the_season_and_more_than_rfm():
    told_of = ("logistic", "quadratic", "bg_nbd", "rfm_logistic", "bg_logistic", "bg_season")
    assert stack_members(told_of) == ("logistic", "bg_logistic", "bg_season")
    assert stack_members(told_of[:-1]) == ("logistic", "quadratic", "bg_nbd", "bg_logistic")


def test_who_is_worse_than_the_closed_form_where_it_is_flattered_has_no_say(told):
    """But who is better there is no better than the rest: an equal say is all that a moment learned by heart is worth."""
    (one,) = told(3.0)
    known, guessed = one.probabilities["boosting"], one.probabilities["logistic"]
    said = {
        "bg_nbd": (known + guessed) / 2,
        "bg_season": guessed,
        "logistic": known,
        "rfm_logistic": guessed,
    }
    kept = not_worse_than_closed_forms(
        tuple(said), OriginPredictions(one.snapshot, said, one.labels)
    )
    assert kept == ("bg_nbd", "bg_season", "logistic")
