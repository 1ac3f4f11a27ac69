"""What the ranker sees of the groups an item belongs to."""

import numpy as np
import pytest

from retention.recommend.catalogue import Catalogue
from retention.recommend.features import NAMES, SCORES, features
from retention.recommend.history import History
from retention.recommend.moments import scene_at

KINDS = {"apple": "yoghurt", "berry": "yoghurt", "cherry": "yoghurt", "plain": "yoghurt", "soap": "soap"}
MAKERS = {"apple": "X", "berry": "X", "cherry": "X", "plain": "Y"}  # nobody says who makes the soap
ITEMS = np.array(sorted(KINDS), dtype=object)


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue({}, frozenset(), {}, {"type": KINDS, "brand": MAKERS})


def bought(*lines: tuple[str, str, int]) -> History:
    """A history of these purchases: customer, item, day."""
    who, what, day = (np.array(column) for column in zip(*sorted(lines), strict=True))
    customers, customer = np.unique(who, return_inverse=True)
    once, never = np.ones(len(lines), dtype=np.int32), np.zeros(len(lines), dtype=np.int32)
    amount = once.astype(np.float32)
    return History(
        customers.astype(object), ITEMS, customer.astype(np.int32), np.searchsorted(ITEMS, what).astype(np.int32),
        day, day, once.astype(float), once, never, never, amount, amount,
    )  # fmt: skip


def test_a_family_is_what_one_maker_offers_of_a_type(catalogue):
    family = dict(zip(ITEMS, catalogue.groups(ITEMS)["family"], strict=True))
    assert family["apple"] == family["berry"] == family["cherry"]
    assert family["plain"] not in (-1, family["apple"])
    assert family["soap"] == -1


def test_of_a_flavour_never_bought_it_is_seen_how_the_customer_buys_the_family(catalogue):
    history = bought(
        ("ann", "apple", 90), ("ann", "berry", 90), ("ann", "apple", 97), ("ann", "soap", 99), ("bob", "cherry", 80),
        ("bob", "plain", 95),
    )  # fmt: skip
    scene = scene_at(history, 100.0, catalogue, 1)
    cherry = np.searchsorted(scene.shelf.items, "cherry")
    view = features(scene, np.array([0]), np.array([cherry]), {name: np.zeros(1) for name in SCORES})
    seen = dict(zip(NAMES, view[0], strict=True))
    assert (seen["family_items"], seen["family_days"], seen["family_last"], seen["family_gap"]) == (
        2,
        2,
        3,
        7,
    )
    assert seen["days"] == 0


def test_what_is_in_no_family_says_nothing_of_one(catalogue):
    history = bought(("ann", "soap", 90), ("ann", "soap", 95), ("bob", "apple", 95))
    scene = scene_at(history, 100.0, catalogue, 1)
    soap = np.searchsorted(scene.shelf.items, "soap")
    view = features(scene, np.array([0]), np.array([soap]), {name: np.zeros(1) for name in SCORES})
    seen = dict(zip(NAMES, view[0], strict=True))
    assert np.isnan(seen["family_last"])
    assert (seen["family_items"], seen["family_days"]) == (0, 0)
    assert seen["type_days"] == 2
