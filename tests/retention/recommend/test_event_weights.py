"""Weights of carts and views are learned if there are enough pairs."""

import numpy as np
import pytest

from retention.recommend.event_weights import apply_weights, learn_weights
from retention.recommend.history import CART, VIEW, WEIGHTS, History, pairs

START, END = 100, 128


def history(
    *, cart: float, view: float, customers: int = 400, items: int = 12, seed: int = 4
) -> History:
    """Simulate 100 days of events, then purchases with given chances."""
    rng = np.random.default_rng(seed)
    customer, item = (
        grid.ravel() for grid in np.meshgrid(np.arange(customers), np.arange(items), indexing="ij")
    )
    kind = rng.integers(0, 4, len(customer))  # purchase, cart, view, nothing
    chance = np.array([0.4, 0.4 * cart, 0.4 * view, 0.02])[kind]
    later = rng.random(len(customer)) < chance
    before = kind < 3
    names = (
        np.array([f"{letter}{number:04d}" for number in range(count)], dtype=object)
        for letter, count in (("c", customers), ("i", items))
    )
    day = np.r_[np.full(before.sum(), START - 1), np.full(later.sum(), START + 9)]
    counts = [
        np.r_[(kind == number)[before], np.full(later.sum(), number == 0)].astype(np.int32)
        for number in range(3)
    ]
    weight = counts[0] + WEIGHTS[CART] * counts[1] + WEIGHTS[VIEW] * counts[2]
    lines = [np.r_[each[before], each[later]] for each in (customer, item)] + [day, day]
    money = np.ones(len(day), dtype=np.float32)
    integers = (line.astype(np.int32) for line in lines)
    unsorted = History(*names, *integers, weight, *counts, money, money)
    return unsorted.where(np.lexsort([day, *lines[1::-1]]))


@pytest.mark.parametrize(("cart", "view"), [(0.8, 0.05), (0.3, 0.5)])
def test_weights_match_the_simulated_purchase_chances(cart, view):
    weights = learn_weights(history(cart=cart, view=view), START, END)
    assert weights[CART] == pytest.approx(cart, abs=0.12)
    assert weights[VIEW] == pytest.approx(view, abs=0.12)


def test_apply_weights_replaces_default_weights():
    seen = history(cart=0.8, view=0.05)
    anew = pairs(apply_weights(seen, {CART: 0.8, VIEW: 0.0}), START + 1.0)
    was = pairs(seen, START + 1.0)
    carted = (was.carts > 0) & (was.days == 0)
    np.testing.assert_allclose(anew.faded[90][carted] / was.faded[90][carted], 0.8 / WEIGHTS[CART])
    assert (anew.faded[90][(was.views > 0) & (was.days == 0)] == 0).all()
    assert apply_weights(seen, {}) is seen


def test_later_events_do_not_change_weights():
    seen = history(cart=0.8, view=0.05)
    late = seen.where(np.ones(len(seen.day), dtype=bool))
    late.day[late.day >= START] += 40  # bought after the window
    assert learn_weights(late.before(END), START, END) == {}
    assert learn_weights(seen, START, END) == learn_weights(seen.before(END), START, END)


def test_too_few_pairs_keep_default_weights():
    assert learn_weights(history(cart=0.8, view=0.1, customers=20), START, END) == {}
    assert learn_weights(history(cart=0.8, view=0.1), 0, 28) == {}
