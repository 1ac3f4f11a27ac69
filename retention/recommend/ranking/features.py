"""Compute the ranker's features of candidate items.

One row per pair, one column per name in `NAMES`: scores of the sources, timing, habits,
popularity, price and group. Missing values are NaN; the trees accept them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.history import HALF_LIVES, History, Pairs, changes
from retention.recommend.item_stats import FACTS, ItemStats
from retention.recommend.matrices import in_rows

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

    Parameters
    ----------
    item_stats : ItemStats
        Items on sale, with their statistics.
    history : History
        Of these customers only.
    seen : Pairs
        Of that history.
    at : float
        Days since 1970.
    place : ndarray of int64
        Column of each item of the history in ``item_stats``; −1 for items that are not on sale.
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
        pair, first, last = (
            self.seen.customer[is_bought],
            self.seen.first[is_bought],
            self.seen.last[is_bought],
        )
        quiet, tenure = np.full(size, np.nan), np.full(size, np.nan)
        np.fmin.at(quiet, visitor, age)
        np.fmax.at(tenure, visitor, age)
        count = np.bincount(visitor, minlength=size)
        recent_pairs = np.bincount(pair[last <= 28], minlength=size)
        place = self.place[self.history.item[is_purchase]]
        price = np.full(len(place), np.nan, dtype=np.float32)
        price[place >= 0] = self.item_stats.rows(place[place >= 0])[:, FACTS.index("price")]
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
            np.bincount(buyer, minlength=size) / np.maximum(count, 1),
            np.bincount(pair[first <= 28], minlength=size) / (recent_pairs + 1),
            recent_pairs,
            np.bincount(buyer[priced], weights=price[priced], minlength=size)
            / np.maximum(np.bincount(buyer[priced], minlength=size), 1),
            quiet / np.where(rhythm > 0, rhythm, np.nan),
        )
        return np.column_stack(columns)

    @cached_property
    def _visits(self) -> np.ndarray:
        """Return customer · 100,000 + day per visit.

        The values are sorted.
        """
        is_purchase = self.history.bought > 0
        return _distinct(
            self.history.customer[is_purchase].astype(np.int64) * 100_000
            + self.history.day[is_purchase]
        )

    @cached_property
    def own(self) -> tuple[np.ndarray, np.ndarray]:
        """Index the lines of ``seen`` by item.

        Items that are not on sale are left out.

        Returns
        -------
        key : ndarray
            customer · (items + 1) + item, sorted.
        line : ndarray
            Positions in ``seen``.
        """
        place = self.place[self.seen.item]
        lines = np.flatnonzero(place >= 0)
        key = self.seen.customer[lines].astype(np.int64) * (self.item_stats.size + 1) + place[lines]
        order = np.argsort(key, kind="stable")
        return key[order], lines[order]

    def line(self, customer: int, item: int) -> int:
        """Find a line of ``seen``.

        Parameters
        ----------
        customer, item : int
            Must be a pair in ``own``.
        """
        keys, lines = self.own
        return int(lines[np.searchsorted(keys, customer * (self.item_stats.size + 1) + item)])

    def visits_since(self, customer: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Count visits in the last ``age`` days.

        Parameters
        ----------
        customer : ndarray of int
        age : ndarray of float
            Days, one per customer.

        Returns
        -------
        ndarray of int
        """
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
        of_item[self.place >= 0] = self.item_stats.group_codes(group, self.place[self.place >= 0])
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
    """Summarise purchases of customers per group.

    ``key`` is customer · size + group, sorted.
    """

    size: int
    key: np.ndarray
    last: np.ndarray
    days: np.ndarray
    gap: np.ndarray
    faded: np.ndarray
    share: np.ndarray

    def at(self, customer: np.ndarray, code: np.ndarray) -> tuple[np.ndarray, ...]:
        """Look up last, days, gap, faded and share.

        Parameters
        ----------
        customer, code : ndarray of int
            Customers and groups.

        Returns
        -------
        tuple of ndarray
            Without purchases: 0 for days, faded and share, else NaN.
        """
        position, known = find_sorted(self.key, customer.astype(np.int64) * self.size + code)
        known &= code >= 0
        return (
            take_known(self.last, position, known),
            take_known(self.days, position, known, 0.0),
            take_known(self.gap, position, known),
            take_known(self.faded, position, known, 0.0),
            take_known(self.share, position, known, 0.0),
        )


def preference_matrix(seen: Pairs, place: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    """Compute log(1 + decayed preference).

    Collaborative models are fitted on it.

    Parameters
    ----------
    seen : Pairs
    place : ndarray of int
        Column of each item, −1 without one.
    shape : tuple of int
        Customers, items.

    Returns
    -------
    csr_matrix
        (customers × items), never negative.
    """
    column = place[seen.item]
    values = np.log1p(seen.faded[LEARN_HALF_LIFE].clip(min=0))
    chosen = (column >= 0) & (values > 0)
    return in_rows(seen.customer[chosen], column[chosen], values[chosen].astype(np.float32), shape)


def _distinct(keys: np.ndarray) -> np.ndarray:
    """Return the distinct keys, sorted.

    For long arrays it is faster than np.unique.
    """
    keys = np.sort(keys)
    return keys[changes(keys)]


def find_sorted(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Locate values in a sorted array.

    Parameters
    ----------
    keys, wanted : ndarray

    Returns
    -------
    position : ndarray of int
    known : ndarray of bool
        Whether the value is present.
    """
    position = np.searchsorted(keys, wanted)
    inside = np.minimum(position, max(len(keys) - 1, 0))
    return inside, (keys[inside] == wanted) if len(keys) else np.zeros(len(wanted), dtype=bool)


def take_known(
    values: np.ndarray, at: np.ndarray, known: np.ndarray, other: float = np.nan
) -> np.ndarray:
    """Return ``values[at]`` for known entries, else ``other``.

    Parameters
    ----------
    values, at, known : ndarray
    other : float
    """
    return np.where(known, values[at], other) if len(values) else np.full(len(at), other)


def features(
    interactions: Interactions,
    customer: np.ndarray,
    column: np.ndarray,
    scores: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Compute the features of pairs of customer and item.

    Parameters
    ----------
    interactions : Interactions
    customer, column : ndarray of int
        Per pair the position of a customer in the history and of an item on sale.
    scores : mapping
        For each of `SOURCE_SCORES` one value per pair.

    Returns
    -------
    ndarray of float32
        (pairs × `NAMES`), stored by column, as the trees read it.
    """
    values_by_name: dict[str, Any] = dict(scores)
    item_facts = interactions.item_stats.rows(column)
    values_by_name |= {f"item_{name}": item_facts[:, number] for number, name in enumerate(FACTS)}
    people = interactions.people[customer]
    values_by_name |= {name: people[:, number] for number, name in enumerate(CUSTOMER_FEATURES)}
    values_by_name |= _own_history(interactions, customer, column, values_by_name)
    for group in GROUPS:
        last, days, gap, faded, share = interactions.habits[group].at(
            customer, interactions.item_stats.group_codes(group, column)
        )
        values = (
            last,
            days,
            gap,
            last / np.where(gap > 0, gap, np.nan),
            faded,
            share,
            interactions.item_stats.group_shares(group, column),
            values_by_name["faded_30"] / np.maximum(faded, 1e-6),
        )
        values_by_name |= {
            f"{group}_{name}": value for name, value in zip(GROUP_FEATURES, values, strict=True)
        }
    values_by_name["price_fit"] = (
        np.log(np.where(values_by_name["item_price"] > 0, values_by_name["item_price"], np.nan))
        - values_by_name["usual_price"]
    )
    view = np.empty((len(NAMES), len(column)), dtype=np.float32)
    for line, name in zip(view, NAMES, strict=True):
        line[:] = values_by_name[name]
    return view.T


def _own_history(
    interactions: Interactions,
    customer: np.ndarray,
    column: np.ndarray,
    values_by_name: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Compute features of customers' own purchases."""
    seen, (keys, lines) = interactions.seen, interactions.own
    position, known = find_sorted(
        keys, customer.astype(np.int64) * (interactions.item_stats.size + 1) + column
    )
    line = lines[position] if len(lines) else position

    def lookup(values: np.ndarray, other: float = np.nan) -> np.ndarray:
        return take_known(values, line, known, other)

    last, first, gap, days = (
        lookup(seen.last),
        lookup(seen.first),
        lookup(seen.gap),
        lookup(seen.days, 0.0),
    )
    since_first = np.maximum(interactions.visits_since(customer, first), 1)
    return {
        **{f"faded_{each}": lookup(seen.faded[each], 0.0) for each in HALF_LIVES},
        "days": days,
        "last": last,
        "first": first,
        "gap": gap,
        "spread": lookup(seen.spread),
        "newest_gap": lookup(seen.newest_gap),
        "due": last / np.where(gap > 0, gap, np.nan),
        "visits_since": np.where(
            np.isfinite(last), interactions.visits_since(customer, last - 1), np.nan
        ),
        "habit": np.where(days > 0, days / since_first, np.nan),
        "carts": lookup(seen.carts, 0.0),
        "views": lookup(seen.views, 0.0),
        "since": lookup(seen.since),
        "usual_due": last
        / np.where(values_by_name["item_usual_gap"] > 0, values_by_name["item_usual_gap"], np.nan),
    }


@dataclass(frozen=True, slots=True)
class Examples:
    """Hold candidates of past windows with outcome and weight.

    Parameters
    ----------
    view : ndarray
        Features (rows × `NAMES`).
    bought : ndarray of bool (rows,)
    weight : ndarray (rows,)
    customers : int
        Number of customers that the rows come from.
    """

    view: np.ndarray
    bought: np.ndarray
    weight: np.ndarray
    customers: int

    @property
    def new(self) -> Self:
        """Select the items that the customer had never bought."""
        rows = self.is_new
        return replace(
            self, view=self.view[rows], bought=self.bought[rows], weight=self.weight[rows]
        )

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
        """Sample at most ``most`` rows evenly.

        The number of customers is scaled.

        Parameters
        ----------
        most, seed : int
        """
        count = len(self.bought)
        if count <= most:
            return self
        rows = np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
        share = round(self.customers * most / count)
        return type(self)(self.view[rows], self.bought[rows], self.weight[rows], share)
