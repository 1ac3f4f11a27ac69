"""Extended item statistics equal those computed from all items."""

import numpy as np
import pytest

from retention.recommend.item_stats import FACTS, GROUPS, MEASURES, ItemStats

KNOWN, APPENDED = 60, 7


@pytest.fixture
def both() -> tuple[ItemStats, ItemStats]:
    rng = np.random.default_rng(5)
    facts = rng.integers(0, 4, size=(KNOWN + APPENDED, len(FACTS))).astype(np.float32)  # many ties
    items = np.array([f"i{number:02d}" for number in range(KNOWN + APPENDED)], dtype=object)
    groups = {name: rng.integers(-1, 5, KNOWN + APPENDED).astype(np.int32) for name in GROUPS}
    for codes in groups.values():
        codes[KNOWN:] = -1
    known = ItemStats(
        items[:KNOWN], facts[:KNOWN], {name: codes[:KNOWN] for name, codes in groups.items()}
    )
    return known.extended(items[KNOWN:], facts[KNOWN:]), ItemStats(items, facts, groups)


def test_extended_statistics_equal_those_of_all_items(both):
    extended, whole = both
    assert extended.items.tolist() == whole.items.tolist()
    for measure in MEASURES:
        for count in (1, 10, len(whole.items)):
            assert extended.top(measure, count).tolist() == whole.top(measure, count).tolist()
        assert (extended.top(measure, len(whole.items)) >= KNOWN).any()
    some = np.random.default_rng(7).permutation(whole.size)
    np.testing.assert_array_equal(extended.facts, whole.facts)
    for group in GROUPS:
        assert (extended.groups[group] == whole.groups[group]).all()
        np.testing.assert_array_equal(
            extended.group_shares(group, some), whole.group_shares(group, some)
        )


def test_top_items_are_sorted_and_have_recent_buyers(both):
    _, whole = both
    recent = whole.column("buyers_28")
    order = whole.top("popular", len(whole.items))
    assert set(order) == set(np.flatnonzero(recent > 0))
    assert order.tolist() == sorted(order, key=lambda at: (-recent[at], at))
