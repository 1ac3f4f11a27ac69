"""What the ranker sees of a customer and a candidate: the sources' scores, timing, habits, popularity, price, group.

One row a pair, one column a name in `NAMES`; missing where there is nothing to say (the trees take that as it is).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.history import HALF_LIVES, History, Pairs, changes
from retention.recommend.item_stats import FACTS, ItemStats
from retention.recommend.matrices import in_rows

SCORES = ("collaborative", "collaborative_rank", "neighbours", "favourite")
OWN = (
    *(f"faded_{each}" for each in HALF_LIVES),
    "days",
    "last",
    "first",
    "gap",
    "spread",
    "newest_gap",
    "due",
    "visits_since",
    "habit",
    "carts",
    "views",
    "since",
    "usual_due",
)
PERSON = (
    "visits",
    "visits_14",
    "visits_28",
    "visits_90",
    "quiet",
    "tenure",
    "rhythm",
    "variety",
    "basket",
    "explores",
    "pairs_28",
    "usual_price",
    "quiet_rhythm",
)
GROUPS = ("category", "type")  # brands added nothing on Complete Journey
HABITS = ("last", "days", "gap", "due", "faded", "share", "within", "own")
NAMES = (
    *SCORES,
    *OWN,
    *(f"item_{name}" for name in FACTS),
    *PERSON,
    *(f"{group}_{name}" for group in GROUPS for name in HABITS),
    "price_fit",
)
GROUP_HALF_LIFE = 45
LEARN_HALF_LIFE = 240  # of the histories the collaborative models learn from


@dataclass(frozen=True)
class Scene:
    """Some customers before one moment, and the shelf they stand in front of.

    Parameters
    ----------
    shelf : ItemStats
    history : History
        Of these customers only.
    seen : Pairs
        Of that history.
    at : float
        Days since 1970.
    place : ndarray of int64
        The position on the shelf of each of the history's items; −1 where it is not there.
    """

    shelf: ItemStats
    history: History
    seen: Pairs
    at: float
    place: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Customers, and items of the shelf."""
        return len(self.history.customers), self.shelf.size

    @cached_property
    def liked(self) -> csr_matrix:
        """See `tastes`."""
        return tastes(self.seen, self.place, self.size)

    @cached_property
    def bought(self) -> csr_matrix:
        """Ones where a customer has ever bought an item of the shelf."""
        column = self.place[self.seen.item]
        chosen = (column >= 0) & (self.seen.days > 0)
        ones = np.ones(int(chosen.sum()), dtype=np.float32)
        return in_rows(self.seen.customer[chosen], column[chosen], ones, self.size)

    @cached_property
    def disliked(self) -> np.ndarray:
        """Of each line of ``seen``: whether returns and bad ratings outweigh all else, as `tastes` weighs it."""
        found: np.ndarray = self.seen.faded[LEARN_HALF_LIFE] < 0
        return found

    @cached_property
    def people(self) -> np.ndarray:
        """(customers × `PERSON`)."""
        size = len(self.history.customers)
        sold = self.history.bought > 0
        who = self.history.customer[sold]
        visits = self._visits
        visitor, age = visits // 100_000, self.at - visits % 100_000
        bought = self.seen.days > 0
        pair, first, last = (
            self.seen.customer[bought],
            self.seen.first[bought],
            self.seen.last[bought],
        )
        quiet, tenure = np.full(size, np.nan), np.full(size, np.nan)
        np.fmin.at(quiet, visitor, age)
        np.fmax.at(tenure, visitor, age)
        count = np.bincount(visitor, minlength=size)
        lately = np.bincount(pair[last <= 28], minlength=size)
        place = self.place[self.history.item[sold]]
        price = np.full(len(place), np.nan, dtype=np.float32)
        price[place >= 0] = self.shelf.rows(place[place >= 0])[:, FACTS.index("price")]
        priced = price > 0
        price = np.log(price, where=priced, out=np.zeros(len(price)))
        rhythm = (tenure - quiet) / np.maximum(count - 1, 1)
        columns = (
            count,
            *(np.bincount(visitor[age <= within], minlength=size) for within in (14, 28, 90)),
            quiet,
            tenure,
            rhythm,
            np.bincount(pair, minlength=size),
            np.bincount(who, minlength=size) / np.maximum(count, 1),
            np.bincount(pair[first <= 28], minlength=size) / (lately + 1),
            lately,
            np.bincount(who[priced], weights=price[priced], minlength=size)
            / np.maximum(np.bincount(who[priced], minlength=size), 1),
            quiet / np.where(rhythm > 0, rhythm, np.nan),
        )
        return np.column_stack(columns)

    @cached_property
    def _visits(self) -> np.ndarray:
        """customer · 100,000 + day of each visit, sorted."""
        sold = self.history.bought > 0
        return _distinct(
            self.history.customer[sold].astype(np.int64) * 100_000 + self.history.day[sold]
        )

    @cached_property
    def own(self) -> tuple[np.ndarray, np.ndarray]:
        """customer · (items + 1) + item of the lines of ``seen`` that stand on the shelf, sorted, and which lines they are."""
        place = self.place[self.seen.item]
        chosen = np.flatnonzero(place >= 0)
        key = self.seen.customer[chosen].astype(np.int64) * (self.shelf.size + 1) + place[chosen]
        order = np.argsort(key, kind="stable")
        return key[order], chosen[order]

    def line(self, customer: int, item: int) -> int:
        """Which line of ``seen`` is of a customer and an item of the shelf that they have dealt with."""
        keys, lines = self.own
        return int(lines[np.searchsorted(keys, customer * (self.shelf.size + 1) + item)])

    def visits_since(self, customer: np.ndarray, age: np.ndarray) -> np.ndarray:
        """How many visits a customer has made in the last ``age`` days."""
        visits = self._visits
        from_day = np.ceil(self.at - np.nan_to_num(age, nan=0.0)).astype(np.int64)
        ends = np.searchsorted(visits, (customer.astype(np.int64) + 1) * 100_000)
        return ends - np.searchsorted(visits, customer.astype(np.int64) * 100_000 + from_day)

    @cached_property
    def habits(self) -> "dict[str, Habit]":
        """Each customer's dealings with each group, for all of `GROUPS`."""
        return {group: self._habit(group) for group in GROUPS}

    def _habit(self, group: str) -> "Habit":
        of_item = np.full(len(self.place), -1, dtype=np.int32)
        of_item[self.place >= 0] = self.shelf.group_codes(group, self.place[self.place >= 0])
        of_item = of_item[self.history.item]
        chosen = (self.history.bought > 0) & (of_item >= 0)
        size = self.shelf.group_counts[group]
        key = self.history.customer[chosen].astype(np.int64) * size + of_item[chosen]
        both = _distinct(key * 100_000 + self.history.day[chosen])
        key, age = both // 100_000, self.at - both % 100_000
        if not len(key):
            none = np.empty(0)
            return Habit(size, np.empty(0, dtype=np.int64), none, none, none, none, none)
        begins = changes(key)
        first, last = np.maximum.reduceat(age, begins), np.minimum.reduceat(age, begins)
        days = np.diff(np.r_[begins, len(key)])
        faded = np.add.reduceat(np.exp2(-age / GROUP_HALF_LIFE), begins)
        keys = key[begins]
        total = np.bincount(keys // size, weights=faded, minlength=len(self.history.customers))
        gap = np.where(days > 1, (first - last) / np.maximum(days - 1, 1), np.nan)
        return Habit(size, keys, last, days, gap, faded, faded / total[keys // size])


@dataclass(frozen=True, slots=True)
class Habit:
    """Dealings of customers with groups, by ``key`` = customer · size + group, sorted."""

    size: int
    key: np.ndarray
    last: np.ndarray
    days: np.ndarray
    gap: np.ndarray
    faded: np.ndarray
    share: np.ndarray

    def at(self, customer: np.ndarray, code: np.ndarray) -> tuple[np.ndarray, ...]:
        """Last, days, gap, faded and share of customers and groups; missing, or 0 for what is counted, where there are none."""
        found, known = find(self.key, customer.astype(np.int64) * self.size + code)
        known &= code >= 0
        return (
            picked(self.last, found, known),
            picked(self.days, found, known, 0.0),
            picked(self.gap, found, known),
            picked(self.faded, found, known, 0.0),
            picked(self.share, found, known, 0.0),
        )


def tastes(seen: Pairs, place: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    """What a collaborative model learns from and scores: log(1 + faded preference), never negative."""
    column = place[seen.item]
    values = np.log1p(seen.faded[LEARN_HALF_LIFE].clip(min=0))
    chosen = (column >= 0) & (values > 0)
    return in_rows(seen.customer[chosen], column[chosen], values[chosen].astype(np.float32), shape)


def _distinct(keys: np.ndarray) -> np.ndarray:
    """The distinct keys, sorted; for long arrays faster than numpy's unique."""
    keys = np.sort(keys)
    return keys[changes(keys)]


def find(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each of ``wanted`` stands in the sorted ``keys``, and whether it is there at all."""
    at = np.searchsorted(keys, wanted)
    inside = np.minimum(at, max(len(keys) - 1, 0))
    return inside, (keys[inside] == wanted) if len(keys) else np.zeros(len(wanted), dtype=bool)


def picked(
    values: np.ndarray, at: np.ndarray, known: np.ndarray, other: float = np.nan
) -> np.ndarray:
    """``values[at]`` where known."""
    return np.where(known, values[at], other) if len(values) else np.full(len(at), other)


def features(
    scene: Scene, customer: np.ndarray, column: np.ndarray, scores: Mapping[str, np.ndarray]
) -> np.ndarray:
    """(pairs × `NAMES`) float32, feature by feature in memory, for the trees read it so.

    Parameters
    ----------
    customer, column : ndarray of int
        A customer of the scene and an item of its shelf for each pair.
    scores : mapping
        For each of `SCORES` one value a pair.
    """
    made: dict[str, Any] = dict(scores)
    facts = scene.shelf.rows(column)
    made |= {f"item_{name}": facts[:, number] for number, name in enumerate(FACTS)}
    people = scene.people[customer]
    made |= {name: people[:, number] for number, name in enumerate(PERSON)}
    made |= _own(scene, customer, column, made)
    for group in GROUPS:
        last, days, gap, faded, share = scene.habits[group].at(
            customer, scene.shelf.group_codes(group, column)
        )
        values = (
            last,
            days,
            gap,
            last / np.where(gap > 0, gap, np.nan),
            faded,
            share,
            scene.shelf.group_shares(group, column),
            made["faded_30"] / np.maximum(faded, 1e-6),
        )
        made |= {f"{group}_{name}": value for name, value in zip(HABITS, values, strict=True)}
    made["price_fit"] = (
        np.log(np.where(made["item_price"] > 0, made["item_price"], np.nan)) - made["usual_price"]
    )
    view = np.empty((len(NAMES), len(column)), dtype=np.float32)
    for line, name in zip(view, NAMES, strict=True):
        line[:] = made[name]
    return view.T


def _own(
    scene: Scene, customer: np.ndarray, column: np.ndarray, made: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The customer's own history of the item: how much, how regularly, and whether it is due."""
    seen, (keys, lines) = scene.seen, scene.own
    found, known = find(keys, customer.astype(np.int64) * (scene.shelf.size + 1) + column)
    line = lines[found] if len(lines) else found

    def told(values: np.ndarray, other: float = np.nan) -> np.ndarray:
        return picked(values, line, known, other)

    last, first, gap, days = told(seen.last), told(seen.first), told(seen.gap), told(seen.days, 0.0)
    since_first = np.maximum(scene.visits_since(customer, first), 1)
    return {
        **{f"faded_{each}": told(seen.faded[each], 0.0) for each in HALF_LIVES},
        "days": days,
        "last": last,
        "first": first,
        "gap": gap,
        "spread": told(seen.spread),
        "newest_gap": told(seen.newest_gap),
        "due": last / np.where(gap > 0, gap, np.nan),
        "visits_since": np.where(np.isfinite(last), scene.visits_since(customer, last - 1), np.nan),
        "habit": np.where(days > 0, days / since_first, np.nan),
        "carts": told(seen.carts, 0.0),
        "views": told(seen.views, 0.0),
        "since": told(seen.since),
        "usual_due": last / np.where(made["item_usual_gap"] > 0, made["item_usual_gap"], np.nan),
    }
