"""Test the rows that models learn from."""

import numpy as np
import pytest

from retention.churn import training_set
from retention.churn.training_set import stack_rows, stacked_observed_horizons, stacked_return_times


def test_all_rows_are_used_up_to_the_limit(training):
    X, y = stack_rows(training.snapshots, training.columns)
    assert len(X) == len(y) == sum(len(snapshot.frame) for snapshot in training.snapshots)


def test_few_snapshots_are_not_thinned(training, monkeypatch):
    monkeypatch.setattr(training_set, "MAX_ROWS", 10)
    few = training.snapshots[:4]
    X, _ = stack_rows(few, training.columns)
    assert len(X) == sum(len(snapshot.frame) for snapshot in few)


@pytest.mark.nightly_after(1)
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_rows_beyond_the_limit_are_thinned_evenly(training, monkeypatch, share):
    every, _ = stack_rows(training.snapshots, ("recency_days", "orders_all"))
    limit = int(share * len(every))
    monkeypatch.setattr(training_set, "MAX_ROWS", limit)
    X, y = stack_rows(training.snapshots, ("recency_days", "orders_all"))
    assert limit <= len(X) <= limit + len(training.snapshots)
    assert X.mean(axis=0) == pytest.approx(every.mean(axis=0), rel=0.15)
    times = stacked_return_times(training.snapshots)
    horizons = stacked_observed_horizons(training.snapshots, 21)
    assert len(y) == len(times) == len(horizons)
    np.testing.assert_array_equal(y, times >= 1)
