"""What a warm worker keeps ready says exactly what the lake itself says, and never more."""

from dataclasses import fields
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from retention.lake.coverage import time_range
from retention.lake.importing import import_files
from retention.recommend import history_cache, recommend, train
from retention.recommend.history import read
from retention.recommend.preferences import buyers
from tests import shop as tiny


@pytest.fixture
def small(tmp_path):
    history_cache._KEPT.clear()
    return tiny.build(tmp_path / "home", customers=60, items=24, days=120)


def _same(one, other) -> None:
    for field in fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        np.testing.assert_array_equal(left, right)
        assert np.asarray(left).dtype == np.asarray(right).dtype


WHO = ["c0003", "nobody", "c0001", "c0040"]


def test_a_history_cut_from_everybodys_is_the_one_read_alone(small):
    everybody = read(small.lake, small.end)
    for some in (WHO, ["nobody"], [], list(everybody.customers)):
        _same(history_cache.of(everybody, some), read(small.lake, small.end, some))
    nothing = read(small.lake, small.begin)
    _same(history_cache.of(nothing, WHO), read(small.lake, small.begin, WHO))


def test_the_second_question_reads_everybody_and_the_third_reads_nothing(small, monkeypatch):
    asked = []
    monkeypatch.setattr(history_cache, "read", lambda *how: asked.append(len(how)) or read(*how))
    for _ in range(4):
        _same(history_cache.histories(small.lake, small.end, WHO), read(small.lake, small.end, WHO))
    assert asked == [3, 2]


def test_new_data_is_seen_by_the_next_question(small):
    for _ in range(3):
        history_cache.histories(small.lake, small.end, WHO)
        history_cache.bought(small.lake, small.end, 28)
    frame = pd.DataFrame(
        {
            "occurred_at": [small.end - timedelta(hours=1)],
            "customer_id": "c0001",
            "event_type": "purchase",
            "item_id": "new",
        }
    )
    frame.to_parquet(small.settings.home / "more.parquet")
    import_files(
        small.lake,
        small.database,
        small.settings,
        "events",
        [str(small.settings.home / "more.parquet")],
    )
    assert "new" in history_cache.histories(small.lake, small.end, WHO).items
    assert history_cache.bought(small.lake, small.end, 28)["new"] == 1


def test_an_earlier_moment_sees_nothing_of_what_came_after(small):
    half = small.end - timedelta(days=40)
    for _ in range(3):
        history_cache.histories(small.lake, small.end, WHO)
    for _ in range(3):
        _same(history_cache.histories(small.lake, half, WHO), read(small.lake, half, WHO))
        assert history_cache.bought(small.lake, half) == buyers(small.lake, half)


def test_lists_are_the_same_warm_and_cold(small):
    trained = train(small.lake, cutoff=small.end)
    later = small.end + timedelta(days=2, hours=7)
    cold = recommend(trained, small.lake, WHO, k=5, as_of=later)
    for _ in range(2):
        assert recommend(trained, small.lake, WHO, k=5, as_of=later) == cold
    assert history_cache._KEPT[0].history is not None


def test_up_to_when_the_lake_knows_anything_counts_what_was_heard_of_later(small):
    assert time_range(small.lake).newest == small.lake.newest_event()
    heard = small.end + timedelta(days=9)
    frame = pd.DataFrame(
        {
            "occurred_at": [small.begin],
            "available_at": [heard],
            "customer_id": "c0001",
            "event_type": "view",
            "item_id": "i001",
        }
    )
    frame.to_parquet(small.settings.home / "late.parquet")
    import_files(
        small.lake,
        small.database,
        small.settings,
        "events",
        [str(small.settings.home / "late.parquet")],
    )
    assert time_range(small.lake).last == heard
    assert not time_range(small.lake).ends_before(heard)
    assert time_range(small.lake).newest < small.end
