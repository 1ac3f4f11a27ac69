"""Test the sequential validation of uplift rankings."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from retention.errors import TooLittleData
from retention.uplift import evaluation
from retention.uplift.evaluation import PARTS, sequential_gain, transformed_outcomes
from retention.uplift.experiment import Experiment
from tests.benchmarks import simulate

pytestmark = pytest.mark.nightly


def _experiment(moved: float, customers: int = 1200, seed: int = 0) -> Experiment:
    """Draw an experiment in which half of the customers are moved by ``moved``."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(customers, 4)), columns=list("abcd"))
    treated = (rng.random(customers) < 0.8).astype(float)
    chance = 0.3 + moved * treated * (table["a"] > 0)
    return Experiment(table, (rng.random(customers) < chance).to_numpy(float), treated, 0.8)


def test_equal_effect_for_all_rarely_passes():
    gains = [gain for drawn in simulate.learnable(36, moderated=False).values() for gain in drawn]
    errors = np.array([gain.mean / ((gain.high - gain.low) / (2 * 1.96)) for gain in gains])
    assert len(gains) == 36
    assert sum(gain.low > 0 for gain in gains) <= 3
    assert 0.75 < errors.std() < 1.2  # in standard errors; of cross-validated figures it is 1.3
    assert abs(errors.mean()) < 0.3


def test_effect_on_half_the_customers_passes_with_true_gain():
    gain = sequential_gain(_experiment(0.4))
    assert 0 < gain.low < gain.mean < gain.high
    # perfect ranking: ½ of the customers first, 0.4 each: ½ · 0.4 · ¼; the learners come close
    assert 0.03 < sequential_gain(_experiment(0.4, 8000)).mean < 0.05


def test_each_part_is_ranked_by_learners_of_earlier_parts(monkeypatch):
    splits = []

    def recording_predict(trial, learners, earlier, current):
        splits.append((set(earlier), set(current)))
        return {name: np.arange(len(current), dtype=float) for name in learners}

    monkeypatch.setattr(evaluation, "predict_split", recording_predict)
    sequential_gain(trial := _experiment(0.0))
    assert len(splits) == PARTS - 1
    for (earlier, current), (later, _) in pairwise(splits):
        assert not earlier & current
        assert later == earlier | current
    assert len(splits[-1][0] | splits[-1][1]) == len(trial.outcome)


def test_parts_after_too_few_buyers_are_not_ranked(monkeypatch):
    trial = _experiment(0.0)
    control = np.flatnonzero(trial.treated == 0)
    trial.outcome[control] = 0
    trial.outcome[control[:8]] = 1
    monkeypatch.setattr(
        evaluation,
        "predict_split",
        lambda t, names, earlier, current: dict.fromkeys(names, current * 1.0),
    )
    assert np.isfinite(sequential_gain(trial).mean)
    trial.outcome[control[5:]] = 0
    with pytest.raises(TooLittleData, match="to learn from a part of them"):
        sequential_gain(trial)


def test_mean_of_transformed_outcomes_is_the_uplift():
    assert transformed_outcomes(_experiment(0.4, 40_000)).mean() == pytest.approx(0.2, abs=0.02)
