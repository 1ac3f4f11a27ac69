"""Ranking metrics agree with values worked by hand."""

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retention.recommend.evaluation.ranking_metrics import ranking_metrics


def test_worked_example():
    metrics = ranking_metrics([[1, 2, 3, 4], [9, 8]], [[2, 4, 7], [5]], k=4, items=20)
    dcg = 1 / log2(3) + 1 / log2(5)
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    assert metrics.customers == 2
    assert metrics.recall == pytest.approx((2 / 3 + 0) / 2)
    assert metrics.ndcg == pytest.approx(dcg / ideal / 2)
    assert metrics.map == pytest.approx((1 / 2 + 2 / 4) / 3 / 2)
    assert metrics.coverage == pytest.approx(6 / 20)


def test_ideal_is_capped_at_list_length():
    metrics = ranking_metrics([[1, 2]], [[1, 2, 3, 4, 5]], k=2, items=5)
    assert metrics.ndcg == metrics.map == pytest.approx(1)
    assert metrics.recall == pytest.approx(2 / 5)


def test_only_first_k_and_customers_with_truth_count():
    metrics = ranking_metrics([[7, 1], [1]], [[1], []], k=1, items=4)
    assert (metrics.customers, metrics.recall, metrics.coverage) == (1, 0.0, 0.25)


def test_no_customers_give_zeros():
    assert ranking_metrics([], [], k=3, items=5).as_dict() == {
        "recall": 0,
        "ndcg": 0,
        "map": 0,
        "coverage": 0,
    }


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
