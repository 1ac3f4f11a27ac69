"""Metrics agree with stored RecTools values or values worked by hand."""

import json
from math import log, log2
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from retention.recommend.evaluation.ranking_metrics import (
    interval,
    list_properties,
    ranking_metrics,
)

CASE = json.loads((Path(__file__).parent / "rectools.json").read_text())
EXACT = 1e-9
HALF = {"recall": 0.5, "ndcg": 0.5, "map": 0.5, "coverage": 0.4}


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


@pytest.mark.parametrize(
    ("items", "coffee", "tea"),
    [([0, 1, 3, 4], 0.5, 0.5), ([0, 1, 2, 3], 0.75, 0.25), ([0, 5], 0.5, 0.0)],
    ids=["half", "as bought", "one without a category"],
)
def test_calibration_is_stecks_divergence(items, coffee, tea):
    """Lists diverge from purchases of 75% coffee and 25% tea."""
    category, tastes = np.array([0, 0, 0, 1, 1, -1]), csr_matrix([[3.0, 1.0, 0.0]])
    properties = list_properties([np.array(items)], np.ones(6), 2, category, tastes)
    by_hand = sum(
        share * log(share / (0.99 * listed + 0.01 * share))
        for share, listed in ((0.75, coffee), (0.25, tea))
    )
    assert properties["calibration"] == pytest.approx(by_hand, abs=EXACT)
    assert items != [0, 5] or properties["diversity"] == 1


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


def test_worked_example():
    metrics = ranking_metrics([[1, 2, 3, 4], [9, 8]], [[2, 4, 7], [5]], k=4, items=20)
    dcg = 1 / log2(3) + 1 / log2(5)
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    assert metrics.customers == 2
    assert metrics.recall == pytest.approx((2 / 3 + 0) / 2)
    assert metrics.ndcg == pytest.approx(dcg / ideal / 2)
    assert metrics.map == pytest.approx((1 / 2 + 2 / 4) / 3 / 2)
    assert metrics.coverage == pytest.approx(6 / 20)


@pytest.mark.parametrize(
    ("lists", "truths", "k", "expected"),
    [
        # the ideal is capped at the length of the list
        ([[1, 2]], [[1, 2, 3, 4, 5]], 2, {"recall": 0.4, "ndcg": 1, "map": 1, "coverage": 0.4}),
        # only the first k, and customers with a truth, count
        ([[3, 1], [1], [2]], [[1], [], [2]], 1, HALF),
        ([], [], 3, {"recall": 0, "ndcg": 0, "map": 0, "coverage": 0}),
    ],
)
def test_edges_match_values_worked_by_hand(lists, truths, k, expected):
    assert ranking_metrics(lists, truths, k=k, items=5).as_dict() == pytest.approx(expected)


@given(
    st.lists(st.integers(0, 30), unique=True, max_size=15),
    st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=15),
    st.integers(1, 12),
)
def test_every_metric_is_a_share(ranked, truth, k):
    values = ranking_metrics([ranked], [truth], k=k, items=31).as_dict().values()
    assert all(0 <= value <= 1 + 1e-12 for value in values)


@given(st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=15), st.integers(1, 12))
def test_truth_as_list_scores_one(truth, k):
    metrics = ranking_metrics([truth], [truth], k=k, items=31)
    assert metrics.ndcg == pytest.approx(1)
    assert metrics.map == pytest.approx(1)


def test_interval_contains_mean_and_hit_rate_counts_customers():
    metrics = ranking_metrics([[1], [2], [3], [4]] * 30, [[1], [9], [3], [4]] * 30, k=1, items=9)
    low, high = metrics.interval(draws=300)
    assert metrics.ndcg == metrics.hit_rate == 0.75
    assert low < 0.75 < high
    assert metrics.interval(draws=300) == (low, high)
    assert ranking_metrics([], [], k=1, items=9).interval() == (0.0, 0.0)
    assert metrics.interval("recall") == metrics.interval("hit_rate")
