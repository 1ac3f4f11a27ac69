"""Who is chosen on the rolling origins: the best, but a member alone only where it beats the mean of all beyond doubt."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from retention.churn.estimators import stackable
from retention.churn.rolling import Choice, Told, choose, not_worse
from retention.churn.snapshots import Snapshot
from retention.value import bgnbd, states

NO_STATES = states.fit(np.zeros((0, 1), dtype=int), np.zeros(0, dtype=int))


@pytest.fixture
def told():
    """Two members: one knows, the other is told with noise, a little or a lot."""

    def make(noise):
        rng = np.random.default_rng(6)
        odds = rng.normal(-1.5, 1.2, 1500)
        labels = (rng.random(1500) < 1 / (1 + np.exp(-odds))).astype(float)
        frame = pd.DataFrame({"customer_id": [f"c{number}" for number in range(1500)]})
        snapshot = Snapshot(
            datetime(2025, 1, 1, tzinfo=UTC), frame, labels, 1500, bgnbd.BgNbd(1, 1, 1, 1), NO_STATES, None
        )
        said = {
            "boosting": 1 / (1 + np.exp(-odds)),
            "logistic": 1 / (1 + np.exp(-odds - rng.normal(0, noise, 1500))),
        }
        return [Told(snapshot, said, labels)]

    return make


def choices(*losses):
    names = ("ensemble", "boosting", "bg_nbd")
    members = (("logistic", "boosting"), ("boosting",), ("bg_nbd",))
    return [Choice(name, of, None, loss) for name, of, loss in zip(names, members, losses, strict=True)]


def test_a_member_alone_that_is_hardly_better_gives_way_to_the_ensemble(told):
    assert choose(choices(0.301, 0.300, 0.4), told(0.05), seasonal=False).name == "ensemble"


def test_a_member_that_is_better_beyond_doubt_is_taken(told):
    assert choose(choices(0.35, 0.300, 0.4), told(3.0), seasonal=False).name == "boosting"


def test_the_ensemble_and_what_is_no_member_are_taken_by_their_log_loss(told):
    assert choose(choices(0.299, 0.300, 0.4), told(0.05), seasonal=False).name == "ensemble"
    assert choose(choices(0.301, 0.300, 0.2), told(0.05), seasonal=False).name == "bg_nbd"
    assert choose(choices(0.301, 0.300, 0.4)[1:], told(0.05), seasonal=False).name == "boosting"


def test_where_there_is_no_ensemble_a_member_alone_gives_way_to_the_blend(told):
    """Few customers cannot tell which of the blend's members is better; one that is beyond doubt is taken."""
    blend, boosting = (
        Choice("stacked", ("logistic", "boosting"), None, 0.301),
        Choice("boosting", ("boosting",), None, 0.300),
    )
    assert choose([blend, boosting], told(0.05), seasonal=False) is blend
    assert choose([blend, boosting], told(3.0), seasonal=False) is boosting


def test_what_the_blend_is_made_of_knows_the_season_and_more_than_rfm():
    told_of = ("logistic", "quadratic", "bg_nbd", "rfm_logistic", "bg_logistic", "bg_season")
    assert stackable(told_of) == ("logistic", "bg_logistic", "bg_season")
    assert stackable(told_of[:-1]) == ("logistic", "quadratic", "bg_nbd", "bg_logistic")


def test_who_is_worse_than_the_closed_form_where_it_is_flattered_has_no_say(told):
    """But who is better there is no better than the rest: an equal say is all that a moment learned by heart is worth."""
    (one,) = told(3.0)
    known, guessed = one.probabilities["boosting"], one.probabilities["logistic"]
    said = {"bg_nbd": (known + guessed) / 2, "bg_season": guessed, "logistic": known, "rfm_logistic": guessed}
    kept = not_worse(tuple(said), Told(one.snapshot, said, one.labels))
    assert kept == ("bg_nbd", "bg_season", "logistic")
