"""The history cache returns what the lake returns."""

from dataclasses import fields
from datetime import timedelta

import numpy as np
import pytest

from retention.lake.coverage import time_range
from retention.recommend import history_cache, recommend, train
from retention.recommend.history import buyers, read
from tests.retention.recommend.small_shop import add_events

pytestmark = pytest.mark.usefixtures("hasty")


@pytest.fixture(autouse=True)
def _empty_cache():
    history_cache._CACHE.clear()


def _same(actual, expected) -> None:
    for field in fields(actual):
        left, right = getattr(actual, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(left, right)
        assert np.asarray(left).dtype == np.asarray(right).dtype


CUSTOMERS = ["c0003", "nobody", "c0001", "c0040"]


def test_selected_history_equals_history_read_alone(small):
    everybody = read(small.lake, small.end)
    for some in (CUSTOMERS, ["nobody"], [], list(everybody.customers)):
        _same(history_cache.select_customers(everybody, some), read(small.lake, small.end, some))
    nothing = history_cache.select_customers(read(small.lake, small.begin), CUSTOMERS)
    _same(nothing, read(small.lake, small.begin, CUSTOMERS))


def test_second_request_reads_all_customers_and_third_nothing(small, monkeypatch):
    reads = []
    monkeypatch.setattr(history_cache, "read", lambda *how: reads.append(len(how)) or read(*how))
    expected = read(small.lake, small.end, CUSTOMERS)
    for _ in range(4):
        _same(history_cache.cached_histories(small.lake, small.end, CUSTOMERS), expected)
    assert reads == [3, 2]


def test_next_request_sees_new_data(small_copy):
    small = small_copy
    for _ in range(3):
        history_cache.cached_histories(small.lake, small.end, CUSTOMERS)
        history_cache.buyer_counts(small.lake, small.end, 28)
    add_events(small, [("c0001", "purchase", small.end - timedelta(hours=1), "new", {})])
    assert "new" in history_cache.cached_histories(small.lake, small.end, CUSTOMERS).items
    assert history_cache.buyer_counts(small.lake, small.end, 28)["new"] == 1


def test_earlier_moment_sees_no_later_events(small):
    half = small.end - timedelta(days=40)
    for _ in range(3):
        history_cache.cached_histories(small.lake, small.end, CUSTOMERS)
    expected = read(small.lake, half, CUSTOMERS)
    for _ in range(3):
        _same(history_cache.cached_histories(small.lake, half, CUSTOMERS), expected)
        assert history_cache.buyer_counts(small.lake, half) == buyers(small.lake, half)


def test_lists_are_equal_with_and_without_cache(small):
    trained = train(small.lake, cutoff=small.end)
    later = small.end + timedelta(days=2, hours=7)
    cold = recommend(trained, small.lake, CUSTOMERS, k=5, as_of=later)
    for _ in range(2):
        assert recommend(trained, small.lake, CUSTOMERS, k=5, as_of=later) == cold
    assert history_cache._CACHE[0].history is not None


def test_watermark_counts_events_known_later(small_copy):
    small = small_copy
    assert time_range(small.lake).newest == small.lake.newest_event()
    heard = small.end + timedelta(days=9)
    add_events(small, [("c0001", "view", small.begin, "i001", {"available_at": heard})])
    assert time_range(small.lake).last == heard
    assert not time_range(small.lake).ends_before(heard)
    assert time_range(small.lake).newest < small.end
