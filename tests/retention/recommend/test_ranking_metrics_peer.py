"""Metrics agree with stored RecTools values or values worked by hand."""

import json
from math import log
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from retention.recommend.evaluation.ranking_metrics import (
    interval,
    list_properties,
    ranking_metrics,
)

CASE = json.loads((Path(__file__).parent / "rectools.json").read_text())
EXACT = 1e-9


@pytest.fixture(scope="module")
def metrics():
    return ranking_metrics(CASE["lists"], CASE["truths"], k=CASE["k"], items=CASE["items"])


@pytest.mark.parametrize("metric", ["recall", "ndcg", "hit_rate"])
def test_customer_values_equal_rectools(metrics, metric):
    np.testing.assert_allclose(metrics.each[metric], CASE["values"][metric], atol=EXACT, rtol=0)


def test_average_precision_divides_by_possible_hits(metrics):
    """RecTools divides by |truth| or by k, our report by the smaller."""
    short = np.array([len(truth) for truth in CASE["truths"]]) <= CASE["k"]
    assert short.any()
    assert not short.all()
    wanted = np.where(short, CASE["values"]["map_by_truth"], CASE["values"]["map_by_k"])
    np.testing.assert_allclose(metrics.each["map"], wanted, atol=EXACT, rtol=0)
    assert metrics.map == pytest.approx(wanted.mean(), abs=EXACT)


def test_coverage_novelty_and_diversity_equal_rectools(metrics):
    histories = [np.array(positions) for positions in CASE["histories"]]
    category = np.array(CASE["categories"])
    buyers = np.bincount(np.concatenate(histories), minlength=CASE["items"])
    properties = list_properties(
        [np.array(positions[: CASE["k"]]) for positions in CASE["lists"]],
        buyers=buyers,
        customers=len(histories),
        category=category,
        tastes=csr_matrix((len(histories), category.max() + 1)),
    )
    assert metrics.coverage == pytest.approx(CASE["coverage"], abs=EXACT)
    assert properties["novelty"] == pytest.approx(np.mean(CASE["values"]["novelty"]), abs=EXACT)
    assert properties["diversity"] == pytest.approx(np.mean(CASE["values"]["diversity"]), abs=EXACT)
    assert properties["calibration"] is None  # nobody had bought anything


def test_calibration_is_stecks_divergence():
    """A list of half coffee and half tea diverges from purchases of 75% and 25%."""
    tastes = csr_matrix([[3.0, 1.0, 0.0]])
    same = {
        "buyers": np.ones(6),
        "customers": 2,
        "category": np.array([0, 0, 0, 1, 1, -1]),
        "tastes": tastes,
    }
    half = list_properties([np.array([0, 1, 3, 4])], **same)
    by_hand = 0.75 * log(0.75 / (0.99 * 0.5 + 0.01 * 0.75)) + 0.25 * log(
        0.25 / (0.99 * 0.5 + 0.01 * 0.25)
    )
    assert half["calibration"] == pytest.approx(by_hand, abs=EXACT)
    assert list_properties([np.array([0, 1, 2, 3])], **same)["calibration"] == pytest.approx(
        0, abs=EXACT
    )
    nothing_of_tea = list_properties(
        [np.array([0, 5])], **same
    )  # one of no category is in no category of theirs
    assert nothing_of_tea["calibration"] == pytest.approx(
        0.75 * log(0.75 / (0.99 * 0.5 + 0.0075)) + 0.25 * log(0.25 / 0.0025), abs=EXACT
    )
    assert nothing_of_tea["diversity"] == 1


def test_properties_are_none_without_categories_or_lists():
    known = {"buyers": np.ones(3), "customers": 4, "tastes": csr_matrix((1, 0))}
    properties = list_properties([np.array([0, 1])], category=np.array([-1, -1, -1]), **known)
    assert properties == {"novelty": 2.0, "diversity": None, "calibration": None}
    nothing = list_properties([np.empty(0, dtype=int)], category=np.zeros(3, dtype=int), **known)
    assert nothing["novelty"] is None


def test_interval_of_paired_differences_is_narrower():
    rng = np.random.default_rng(2)
    hard = rng.uniform(size=400)
    better = np.clip(hard + rng.normal(0.02, 0.02, 400), 0, 1)
    low, high = interval(better - hard)
    assert 0 < low < 0.02 < high < 0.03
    assert np.ptp(interval(better)) > 5 * (high - low)
