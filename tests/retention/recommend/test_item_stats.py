"""A shelf that a few items were put to the end of answers as if it had been made of all of them."""

import numpy as np
import pytest

from retention.recommend.item_stats import FACTS, GROUPS, MEASURES, Shelf

KNOWN, FURTHER = 60, 7


@pytest.fixture
def both() -> tuple[Shelf, Shelf]:
    rng = np.random.default_rng(5)
    facts = rng.integers(0, 4, size=(KNOWN + FURTHER, len(FACTS))).astype(
        np.float32
    )  # many are alike
    items = np.array([f"i{number:02d}" for number in range(KNOWN + FURTHER)], dtype=object)
    groups = {name: rng.integers(-1, 5, KNOWN + FURTHER).astype(np.int32) for name in GROUPS}
    for codes in groups.values():
        codes[KNOWN:] = -1
    known = Shelf(
        items[:KNOWN], facts[:KNOWN], {name: codes[:KNOWN] for name, codes in groups.items()}
    )
    return known.with_(items[KNOWN:], facts[KNOWN:]), Shelf(items, facts, groups)


def test_what_is_kept_of_the_known_items_is_not_all_there_is(both):
    extended, whole = both
    assert extended.items.tolist() == whole.items.tolist()
    for measure in MEASURES:
        for count in (1, 10, len(whole.items)):
            assert extended.best(measure, count).tolist() == whole.best(measure, count).tolist()
        assert (extended.best(measure, len(whole.items)) >= KNOWN).any()
    some = np.random.default_rng(7).permutation(whole.size)
    assert extended.size == whole.size
    assert extended.names(some).tolist() == whole.names(some).tolist()
    np.testing.assert_array_equal(extended.told(some), whole.told(some))
    np.testing.assert_array_equal(extended.fact("price"), whole.fact("price"))
    for group in GROUPS:
        assert (extended.code(group, some) == whole.code(group, some)).all()
        np.testing.assert_array_equal(extended.within(group, some), whole.within(group, some))


def test_the_best_are_in_order_and_none_that_nobody_bought_lately(both):
    _, whole = both
    lately = whole.fact("buyers_28")
    order = whole.best("popular", len(whole.items))
    assert set(order) == set(np.flatnonzero(lately > 0))
    assert order.tolist() == sorted(order, key=lambda at: (-lately[at], at))
