"""Test that customers scored in parts get the same numbers as all at once."""

import pandas as pd
import pytest

from retention.churn import model, population, score, snapshots
from retention.churn.explaining import reasons
from retention.churn.model import fit
from retention.churn.training_set import build_training_set
from retention.errors import TooLittleData
from retention.lake.storage.delta_store import DataCache
from retention.risk.policy import Policy
from retention.risk.sweep import sweep
from retention.window import Window


def _tables(trained, lake, at=None):
    swept = sweep(lake, trained, Policy(), as_of=at or trained.cutoff)
    return pd.concat(swept.stored_parts()).reset_index(drop=True), swept.cohort


@pytest.fixture
def in_parts(monkeypatch):
    """Make every population a large one. Few customers get exact weights.

    A block is always predicted at once: with other rows beside it, last bits may differ.
    """
    monkeypatch.setattr(score, "CHUNK_ROWS", 48)
    monkeypatch.setattr(reasons, "CHUNK_ROWS", 48)
    monkeypatch.setattr(model, "BLOCK_ROWS", 64)

    def split(rows):
        monkeypatch.setattr(population, "MAX_CACHED", 0)
        monkeypatch.setattr(population, "_BUYERS", DataCache(0))
        monkeypatch.setattr(population, "PART_ROWS", rows)

    return split


@pytest.mark.parametrize(
    "name",
    [
        "logistic",
        *(pytest.param(name, marks=pytest.mark.nightly) for name in ("forest", "stacked")),
    ],
)
def test_parts_get_the_scores_reasons_and_list_of_all_at_once(shop, training, in_parts, name):
    trained = fit(training, model=name)
    scores, cohort = _tables(trained, shop.lake)
    in_parts(64)
    parts = population.population_parts(shop.lake, trained.cutoff, trained.window)
    assert len(parts.starts) > 3
    assert parts.read is not None
    own_scores, own_cohort = _tables(trained, shop.lake)
    pd.testing.assert_frame_equal(own_scores, scores, check_exact=True)
    pd.testing.assert_frame_equal(own_cohort, cohort, check_exact=True)


def test_parts_have_the_features_of_the_population(shop, in_parts):
    window = Window(21, 42)
    whole = population.population(shop.lake, shop.end, window)
    in_parts(64)
    parts = population.population_parts(shop.lake, shop.end, window)
    frames = [part.frame for _, part in parts]
    assert max(map(len, frames)) <= 64
    pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), whole.frame)


def test_future_events_do_not_change_scores_in_parts(shop, truncated, trained, in_parts):
    in_parts(64)
    known, _ = _tables(trained, truncated)
    pd.testing.assert_frame_equal(_tables(trained, shop.lake)[0], known, check_exact=True)


def test_other_customers_than_those_scored_are_refused(shop, trained, in_parts):
    in_parts(64)
    parts = population.population_parts(shop.lake, trained.cutoff, trained.window)
    other = population.PopulationParts(parts.whole, lambda number: parts.read(1), parts.starts)
    with pytest.raises(TooLittleData, match="changed"):
        other.part(0)


def test_training_snapshots_of_a_large_shop_have_a_sample(shop, training, monkeypatch):
    monkeypatch.setattr(snapshots, "MAX_TRAINING", 60)
    small = build_training_set(shop.lake, cutoff=training.cutoff, window=training.window)
    assert small.columns == training.columns
    for own, whole in zip(small.snapshots, training.snapshots, strict=True):
        assert len(own.frame) == min(60, len(whole.frame))
        keep = whole.frame.customer_id.isin(own.frame.customer_id).to_numpy()
        pd.testing.assert_frame_equal(own.frame, whole.rows(keep).frame, check_exact=True)
        assert own.labels.tolist() == whole.labels[keep].tolist()
        assert own.return_times.tolist() == whole.return_times[keep].tolist()
        assert own.hashed.max() <= whole.hashed[~keep].min(initial=2**64 - 1)


def test_a_part_is_a_whole_number_of_blocks():
    assert population.PART_ROWS % model.BLOCK_ROWS == 0
