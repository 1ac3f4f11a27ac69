"""Tests of the population stability index."""

import numpy as np
import pytest

from retention.churn import drift


def test_psi_matches_the_worked_value():
    now = [0.05, 0.08, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.12, 0.15]
    assert drift.psi([0.1] * 10, now) == pytest.approx(0.06304, abs=5e-6)


def test_psi_separates_same_and_different_populations():
    rng = np.random.default_rng(0)
    before = drift.profile(rng.normal(size=5000))
    same, other = rng.normal(size=400), rng.normal(1.0, size=400)
    assert drift.profile_psi(before, same) < drift.chance_psi(before, 400) < drift.PSI_LIMIT
    assert drift.profile_psi(before, other) > drift.PSI_LIMIT


def test_psi_counts_missing_and_constant_values():
    values = np.arange(1000.0)
    before = drift.profile(values)
    assert drift.profile_psi(before, np.where(values < 400, np.nan, values)) > drift.PSI_LIMIT
    zeros = drift.profile(np.zeros(100))
    assert drift.profile_psi(zeros, np.zeros(50)) == pytest.approx(0)
    # Above the one edge, as the zeros are
    assert drift.profile_psi(zeros, np.ones(50)) == pytest.approx(0)
    assert drift.profile_psi(zeros, -np.ones(50)) > drift.PSI_LIMIT
    expected = pytest.approx(0)
    assert drift.profile_psi(drift.profile(np.full(100, np.nan)), np.full(50, np.nan)) == expected


def test_limit_allows_for_chance_in_small_samples():
    rng = np.random.default_rng(1)
    before = drift.profile(rng.normal(size=2000))
    moved = [drift.profile_psi(before, rng.normal(size=60)) for _ in range(300)]
    assert np.mean(np.array(moved) > drift.chance_psi(before, 60)) == pytest.approx(0.05, abs=0.04)


def test_features_that_grow_with_history_are_not_reported():
    features = {"tenure_days": 3.6, "trend_slope": 1.8, "recency_days": 0.1}
    assert drift.drifted_features(features, limit=drift.PSI_LIMIT) == ["trend_slope"]
    assert drift.drifted_features(features) == ["trend_slope", "recency_days"]
