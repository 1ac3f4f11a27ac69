"""Tests of churn metrics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from retention.churn.evaluation.classification_metrics import ece, empc, metrics, top_decile_lift


def test_empc_matches_the_worked_value():
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1.0])
    scores = np.array([0.1, 0.9, 0.2, 0.8, 0.6, 0.7, 0.3, 0.4])
    assert empc(labels, scores) == pytest.approx(26.62519780614213, abs=1e-9)


def test_perfect_and_useless_scores():
    labels = np.repeat([0.0, 1.0], [90, 10])
    perfect, useless = metrics(labels, labels), metrics(labels, np.full(100, 0.1))
    assert (perfect["auc"], perfect["top_decile_lift"], perfect["brier"]) == (1, 10, 0)
    assert (useless["auc"], useless["top_decile_lift"]) == (0.5, pytest.approx(1))
    assert useless["brier"] == pytest.approx(0.09)


def test_ece_is_the_gap_between_predicted_and_observed():
    labels = np.tile([0.0, 1.0], 50)
    assert ece(labels, np.full(100, 0.7)) == pytest.approx(0.2)
    assert ece(labels, np.full(100, 0.5)) == pytest.approx(0)


@given(hnp.arrays(float, 60, elements=st.floats(0, 1)), st.randoms(use_true_random=False))
def test_rank_metrics_ignore_row_order(scores, random):
    labels = np.tile([0.0, 0.0, 1.0], 20)
    order = np.array(random.sample(range(60), 60))
    assert empc(labels, scores) == pytest.approx(empc(labels[order], scores[order]))
    expected = pytest.approx(top_decile_lift(labels[order], scores[order]))
    assert top_decile_lift(labels, scores) == expected
    assert empc(labels, scores) >= 0
