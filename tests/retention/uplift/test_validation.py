"""The question that comes before targeting by uplift: is there anything to rank by? Chance must not answer yes."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from retention.errors import TooLittleData
from retention.uplift import validation
from retention.uplift.evaluate import effects
from retention.uplift.table import Experiment
from retention.uplift.validation import PARTS, sequential
from tests.benchmarks import simulate


def _drawn(moved: float, customers: int = 1200, seed: int = 0) -> Experiment:
    """Half of the customers are moved by so much, the others not at all."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(customers, 4)), columns=list("abcd"))
    treated = (rng.random(customers) < 0.8).astype(float)
    chance = 0.3 + moved * treated * (table["a"] > 0)
    return Experiment(table, (rng.random(customers) < chance).to_numpy(float), treated, 0.8)


def test_where_the_offer_does_the_same_for_all_hardly_any_campaign_passes():
    gains = [gain for drawn in simulate.learnable(36, moderated=False).values() for gain in drawn]
    errors = np.array([gain.mean / ((gain.high - gain.low) / (2 * 1.96)) for gain in gains])
    assert len(gains) == 36
    assert sum(gain.low > 0 for gain in gains) <= 3
    assert 0.75 < errors.std() < 1.2  # in standard errors; of cross-validated figures it is 1.3
    assert abs(errors.mean()) < 0.3


def test_where_it_moves_half_of_them_it_passes_and_the_figure_is_true():
    gain = sequential(_drawn(0.4))
    assert 0 < gain.low < gain.mean < gain.high
    # Half of the customers, all of them first, with 0.4 each: ½ · 0.4 · ¼; the learners know nearly as well.
    assert 0.03 < sequential(_drawn(0.4, 8000)).mean < 0.05


def test_each_part_is_ranked_by_learners_of_the_parts_before_it(monkeypatch):
    asked = []

    def spied(trial, learners, before, own):
        asked.append((set(before), set(own)))
        return {name: np.arange(len(own), dtype=float) for name in learners}

    monkeypatch.setattr(validation, "predicted", spied)
    sequential(trial := _drawn(0.0))
    assert len(asked) == PARTS - 1
    for (before, own), (after, _) in pairwise(asked):
        assert not before & own
        assert after == before | own
    assert len(asked[-1][0] | asked[-1][1]) == len(trial.outcome)


def test_parts_that_come_after_too_few_buyers_are_not_ranked(monkeypatch):
    trial = _drawn(0.0)
    control = np.flatnonzero(trial.treated == 0)
    trial.outcome[control] = 0
    trial.outcome[control[:8]] = 1
    monkeypatch.setattr(
        validation, "predicted", lambda t, names, before, own: dict.fromkeys(names, own * 1.0)
    )
    assert np.isfinite(sequential(trial).mean)
    trial.outcome[control[5:]] = 0
    with pytest.raises(TooLittleData, match="to learn from a part of them"):
        sequential(trial)


def test_effects_have_the_uplift_as_their_mean():
    assert effects(_drawn(0.4, 40_000)).mean() == pytest.approx(0.2, abs=0.02)
