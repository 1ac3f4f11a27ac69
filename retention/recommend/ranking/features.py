"""Compute the ranker's features of candidate items.

One row per pair, one column per name in `NAMES`: scores of the sources, timing, habits,
popularity, price and group. Missing values are NaN; the trees accept them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.history import HALF_LIVES, History, Pairs, changes
from retention.recommend.item_stats import FACTS, ItemStats
from retention.recommend.matrices import find_sorted, in_rows, sample_rows

SOURCE_SCORES = ("collaborative", "collaborative_rank", "neighbours", "favourite")
OWN_HISTORY = (
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
CUSTOMER_FEATURES = (
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
GROUP_FEATURES = ("last", "days", "gap", "due", "faded", "share", "within", "own")
NAMES = (
    *SOURCE_SCORES,
    *OWN_HISTORY,
    *(f"item_{name}" for name in FACTS),
    *CUSTOMER_FEATURES,
    *(f"{group}_{name}" for group in GROUPS for name in GROUP_FEATURES),
    "price_fit",
)
GROUP_HALF_LIFE = 45
LEARN_HALF_LIFE = 240  # days, of the histories that collaborative models are fitted on


@dataclass(frozen=True)
class Interactions:
    """Hold what customers did with items, as of one moment.

    `place`: column of each item of the history in ``item_stats``; −1 for items that are not on
    sale.
    """

    item_stats: ItemStats
    history: History
    seen: Pairs
    at: float
    place: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Return the number of customers and of items."""
        return len(self.history.customers), self.item_stats.size

    @cached_property
    def liked(self) -> csr_matrix:
        """Return the preference matrix; see `preference_matrix`."""
        return preference_matrix(self.seen, self.place, self.size)

    @cached_property
    def bought(self) -> csr_matrix:
        """Mark all items ever bought, (customers × items)."""
        column = self.place[self.seen.item]
        chosen = (column >= 0) & (self.seen.days > 0)
        ones = np.ones(int(chosen.sum()), dtype=np.float32)
        return in_rows(self.seen.customer[chosen], column[chosen], ones, self.size)

    @cached_property
    def disliked(self) -> np.ndarray:
        """Mark the lines of ``seen`` with a negative preference.

        Returns and bad ratings outweigh all else there, by the weights of `preference_matrix`.
        """
        is_disliked: np.ndarray = self.seen.faded[LEARN_HALF_LIFE] < 0
        return is_disliked

    @cached_property
    def people(self) -> np.ndarray:
        """Compute the features of customers (customers × `CUSTOMER_FEATURES`)."""
        size = len(self.history.customers)
        is_purchase = self.history.bought > 0
        buyer = self.history.customer[is_purchase]
        visits = self._visits
        visitor, age = visits // 100_000, self.at - visits % 100_000
        is_bought = self.seen.days > 0
        seen = self.seen
        pair, first, last = (part[is_bought] for part in (seen.customer, seen.first, seen.last))
        quiet, tenure = np.full(size, np.nan), np.full(size, np.nan)
        np.fmin.at(quiet, visitor, age)
        np.fmax.at(tenure, visitor, age)
        count = np.bincount(visitor, minlength=size)
        recent_pairs = np.bincount(pair[last <= 28], minlength=size)
        place = self.place[self.history.item[is_purchase]]
        price = np.full(len(place), np.nan, dtype=np.float32)
        price[place >= 0] = self.item_stats.column("price")[place[place >= 0]]
        priced = price > 0
        price = np.log(price, where=priced, out=np.zeros(len(price)))
        rhythm = (tenure - quiet) / np.maximum(count - 1, 1)
        prices = np.bincount(buyer[priced], weights=price[priced], minlength=size)
        columns = (
            count,
            *(np.bincount(visitor[age <= within], minlength=size) for within in (14, 28, 90)),
            quiet,
            tenure,
            rhythm,
            np.bincount(pair, minlength=size),
            np.bincount(buyer, minlength=size) / np.maximum(count, 1),
            np.bincount(pair[first <= 28], minlength=size) / (recent_pairs + 1),
            recent_pairs,
            prices / np.maximum(np.bincount(buyer[priced], minlength=size), 1),
            _ratio(quiet, rhythm),
        )
        return np.column_stack(columns)

    @cached_property
    def _visits(self) -> np.ndarray:
        """Return customer · 100,000 + day per visit. The values are sorted."""
        is_purchase = self.history.bought > 0
        customer = self.history.customer[is_purchase].astype(np.int64)
        return _distinct(customer * 100_000 + self.history.day[is_purchase])

    @cached_property
    def _own(self) -> tuple[np.ndarray, np.ndarray]:
        """Index the lines of ``seen`` by item.

        Items that are not on sale are left out.

        Returns: customer · (items + 1) + item, sorted.
        """
        place = self.place[self.seen.item]
        lines = np.flatnonzero(place >= 0)
        key = self.seen.customer[lines].astype(np.int64) * (self.item_stats.size + 1) + place[lines]
        order = np.argsort(key, kind="stable")
        return key[order], lines[order]

    def find_lines(self, customer: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the lines of ``seen`` of pairs; and whether there is one."""
        keys, lines = self._own
        wanted = customer.astype(np.int64) * (self.item_stats.size + 1) + item
        place, is_known = find_sorted(keys, wanted)
        return (lines[place] if len(lines) else place), is_known

    def visits_since(self, customer: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Count visits in the last ``age`` days."""
        visits = self._visits
        from_day = np.ceil(self.at - np.nan_to_num(age, nan=0.0)).astype(np.int64)
        ends = np.searchsorted(visits, (customer.astype(np.int64) + 1) * 100_000)
        return ends - np.searchsorted(visits, customer.astype(np.int64) * 100_000 + from_day)

    @cached_property
    def habits(self) -> "dict[str, GroupHabits]":
        """Compute each customer's habits per group, for all `GROUPS`."""
        return {group: self._habit(group) for group in GROUPS}

    def _habit(self, group: str) -> "GroupHabits":
        of_item = np.full(len(self.place), -1, dtype=np.int32)
        of_item[self.place >= 0] = self.item_stats.groups[group][self.place[self.place >= 0]]
        of_item = of_item[self.history.item]
        is_chosen = (self.history.bought > 0) & (of_item >= 0)
        size = self.item_stats.group_counts[group]
        key = self.history.customer[is_chosen].astype(np.int64) * size + of_item[is_chosen]
        visit_days = _distinct(key * 100_000 + self.history.day[is_chosen])
        key, age = visit_days // 100_000, self.at - visit_days % 100_000
        if not len(key):
            empty = np.empty(0)
            return GroupHabits(size, np.empty(0, dtype=np.int64), empty, empty, empty, empty, empty)
        begins = changes(key)
        first, last = np.maximum.reduceat(age, begins), np.minimum.reduceat(age, begins)
        days = np.diff(np.r_[begins, len(key)])
        faded = np.add.reduceat(np.exp2(-age / GROUP_HALF_LIFE), begins)
        keys = key[begins]
        total = np.bincount(keys // size, weights=faded, minlength=len(self.history.customers))
        gap = np.where(days > 1, (first - last) / np.maximum(days - 1, 1), np.nan)
        return GroupHabits(size, keys, last, days, gap, faded, faded / total[keys // size])


@dataclass(frozen=True, slots=True)
class GroupHabits:
    """Summarise purchases of customers per group. ``key`` is customer · size + group, sorted."""

    size: int
    key: np.ndarray
    last: np.ndarray
    days: np.ndarray
    gap: np.ndarray
    faded: np.ndarray
    share: np.ndarray

    def at(self, customer: np.ndarray, code: np.ndarray) -> tuple[np.ndarray, ...]:
        """Look up last, days, gap, faded and share.

        Returns: without purchases: 0 for days, faded and share, else NaN.
        """
        position, known = find_sorted(self.key, customer.astype(np.int64) * self.size + code)
        known &= code >= 0
        others = {"last": np.nan, "days": 0.0, "gap": np.nan, "faded": 0.0, "share": 0.0}
        return tuple(
            take_known(getattr(self, name), position, known, other)
            for name, other in others.items()
        )


def preference_matrix(seen: Pairs, place: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    """Compute log(1 + decayed preference).

    Collaborative models are fitted on it.

    `place`: column of each item, −1 without one.
    Returns: (customers × items), never negative.
    """
    column = place[seen.item]
    values = np.log1p(seen.faded[LEARN_HALF_LIFE].clip(min=0))
    chosen = (column >= 0) & (values > 0)
    return in_rows(seen.customer[chosen], column[chosen], values[chosen].astype(np.float32), shape)


def _distinct(keys: np.ndarray) -> np.ndarray:
    """Return the distinct keys, sorted. For long arrays it is faster than np.unique."""
    keys = np.sort(keys)
    return keys[changes(keys)]


def take_known(
    values: np.ndarray, at: np.ndarray, known: np.ndarray, other: float = np.nan
) -> np.ndarray:
    """Return ``values[at]`` for known entries, else ``other``."""
    return np.where(known, values[at], other) if len(values) else np.full(len(at), other)


def features(
    interactions: Interactions,
    customer: np.ndarray,
    column: np.ndarray,
    scores: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Compute the features of pairs of customer and item.

    Returns: (pairs × `NAMES`), stored by column, as the trees read it.
    """
    stats = interactions.item_stats
    named: dict[str, Any] = dict(scores)
    named |= zip((f"item_{name}" for name in FACTS), stats.facts[column].T, strict=True)
    named |= zip(CUSTOMER_FEATURES, interactions.people[customer].T, strict=True)
    named |= _own_history(interactions, customer, column, named["item_usual_gap"])
    for group in GROUPS:
        codes = stats.groups[group][column]
        last, days, gap, faded, share = interactions.habits[group].at(customer, codes)
        within = stats.group_shares(group, column)
        own = named["faded_30"] / np.maximum(faded, 1e-6)
        values = last, days, gap, _ratio(last, gap), faded, share, within, own
        named |= zip((f"{group}_{name}" for name in GROUP_FEATURES), values, strict=True)
    price = np.where(named["item_price"] > 0, named["item_price"], np.nan)
    named["price_fit"] = np.log(price) - named["usual_price"]
    view = np.empty((len(NAMES), len(column)), dtype=np.float32)
    for line, name in zip(view, NAMES, strict=True):
        line[:] = named[name]
    return view.T


def _ratio(age: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Compute age / gap; NaN without a gap."""
    return age / np.where(gap > 0, gap, np.nan)


def _own_history(
    interactions: Interactions, customer: np.ndarray, column: np.ndarray, usual_gap: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute features of customers' own purchases."""
    seen = interactions.seen
    line, known = interactions.find_lines(customer, column)

    def lookup(values: np.ndarray, other: float = np.nan) -> np.ndarray:
        return take_known(values, line, known, other)

    last, first, gap = lookup(seen.last), lookup(seen.first), lookup(seen.gap)
    days = lookup(seen.days, 0.0)
    since_first = np.maximum(interactions.visits_since(customer, first), 1)
    since_last = interactions.visits_since(customer, last - 1)
    return {
        **{f"faded_{each}": lookup(seen.faded[each], 0.0) for each in HALF_LIVES},
        "days": days,
        "last": last,
        "first": first,
        "gap": gap,
        "spread": lookup(seen.spread),
        "newest_gap": lookup(seen.newest_gap),
        "due": _ratio(last, gap),
        "visits_since": np.where(np.isfinite(last), since_last, np.nan),
        "habit": np.where(days > 0, days / since_first, np.nan),
        "carts": lookup(seen.carts, 0.0),
        "views": lookup(seen.views, 0.0),
        "since": lookup(seen.since),
        "usual_due": _ratio(last, usual_gap),
    }


@dataclass(frozen=True, slots=True)
class Examples:
    """Hold candidates of past windows with outcome and weight.

    `view`: features (rows × `NAMES`).
    """

    view: np.ndarray
    bought: np.ndarray
    weight: np.ndarray
    customers: int

    @property
    def new(self) -> Self:
        """Select the items that the customer had never bought."""
        return self._select(self.is_new, self.customers)

    def _select(self, rows: np.ndarray, customers: int) -> Self:
        return type(self)(self.view[rows], self.bought[rows], self.weight[rows], customers)

    @property
    def is_new(self) -> np.ndarray:
        """Mark the items that the customer had never bought."""
        is_new: np.ndarray = self.view[:, NAMES.index("days")] == 0
        return is_new

    @property
    def has_both_outcomes(self) -> bool:
        """Check for bought and not bought items."""
        return bool(self.bought.any() and not self.bought.all())

    def concat(self, other: Self) -> Self:
        """Append other examples."""
        return type(self)(
            np.concatenate([self.view, other.view]),
            np.concatenate([self.bought, other.bought]),
            np.concatenate([self.weight, other.weight]),
            self.customers + other.customers,
        )

    def sample(self, most: int, seed: int) -> Self:
        """Sample at most ``most`` rows evenly. The number of customers is scaled."""
        count = len(self.bought)
        if count <= most:
            return self
        rows = sample_rows(count, most, seed)
        return self._select(rows, round(self.customers * most / count))
