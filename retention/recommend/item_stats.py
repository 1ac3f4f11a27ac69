"""Compute statistics of items at a cutoff.

They cover popularity, repeat purchases and prices. The statistics are fixed at training and stored
in the artefact. A list then needs only one customer's history.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from retention.recommend.catalogue import Catalogue
from retention.recommend.history import History, Pairs

GROUPS = ("category", "type", "brand")
FACTS = (
    "buyers",
    "buyers_7",
    "buyers_28",
    "buyers_before",
    "trend",
    "first_buyers",
    "first_share",
    "age",
    "repeated",
    "returned",
    "usual_gap",
    "days_each",
    "price",
)
RECENT = 28  # days


@dataclass(frozen=True)
class ItemStats:
    """Hold items and their statistics.

    `facts`: distinct buyers ever, in the last 7 and 28 days and in the 28 days before. Ratio of the
    last two. First-time buyers in the last 28 days and their share. Days since the first sale.
    Share of buyers with purchases on several days. Share of earlier buyers with a purchase in the
    last 28 days. Mean gap (days). Purchase days per buyer. Price.
    `groups`: for each of `GROUPS` the code of each item's group; −1 if unknown.
    """

    items: np.ndarray
    facts: np.ndarray
    groups: Mapping[str, np.ndarray]

    def extended(self, items: np.ndarray, facts: np.ndarray) -> "ItemStats":
        """Append items with unknown groups."""
        if not len(items):
            return self
        unknown = np.full(len(items), -1, dtype=np.int32)
        appended = ItemStats(items, facts, dict.fromkeys(self.groups, unknown))
        return ExtendedItemStats(self, appended) if self.size else appended

    @property
    def size(self) -> int:
        """Return the number of items."""
        return len(self.items)

    def ids(self, at: np.ndarray) -> np.ndarray:
        """Return the ids at some positions."""
        return self.items[at]

    def rows(self, at: np.ndarray) -> np.ndarray:
        """Return the statistics at some positions."""
        return self.facts[at]

    def group_codes(self, group: str, at: np.ndarray) -> np.ndarray:
        """Return the group codes at some positions."""
        return self.groups[group][at]

    def column(self, name: str) -> np.ndarray:
        """Return one statistic of all items."""
        return self.facts[:, FACTS.index(name)]

    @cached_property
    def group_counts(self) -> dict[str, int]:
        """Number of groups of each kind."""
        return {group: int(code.max(initial=0)) + 1 for group, code in self.groups.items()}

    @cached_property
    def shares(self) -> dict[str, np.ndarray]:
        """Share of each item in its group's buyers. Counts the last 28 days. 0 without a group."""
        return {group: self._share(group) for group in self.groups}

    def _share(self, group: str) -> np.ndarray:
        code, recent = self.groups[group], self.column("buyers_28")
        known = code >= 0
        total = np.bincount(code[known], weights=recent[known], minlength=self.group_counts[group])
        return np.where(known, recent / np.maximum(total[code], 1), 0.0).astype(np.float32)

    def group_shares(self, group: str, at: np.ndarray) -> np.ndarray:
        """Return the group shares at some positions. 1 without a group."""
        return np.where(self.groups[group][at] >= 0, self.shares[group][at], np.float32(1))

    def top(self, measure: str, count: int) -> np.ndarray:
        """Return the best items by one of `MEASURES`.

        Returns positions. Only items with a value above 0 count. Ties are in order of position.
        """
        return self._best[measure][:count]

    @cached_property
    def _best(self) -> dict[str, np.ndarray]:
        everything = np.arange(len(self.items))
        return {measure: _best(self, measure, everything) for measure in MEASURES}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays for the artefact."""
        return {"items": np.array(self.items, dtype=str), "facts": self.facts, **self.groups}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Rebuild the statistics from stored arrays."""
        groups = {name: arrays[name] for name in GROUPS}
        return cls(arrays["items"].astype(object), arrays["facts"], groups)


class ExtendedItemStats(ItemStats):
    """Append a few items without copying the rest."""

    known: ItemStats
    appended: ItemStats

    def __init__(self, known: ItemStats, appended: ItemStats) -> None:
        for name, part in (("known", known), ("appended", appended)):
            object.__setattr__(self, name, part)

    @cached_property
    def items(self) -> np.ndarray:
        return np.concatenate([self.known.items, self.appended.items])

    @cached_property
    def facts(self) -> np.ndarray:
        return np.concatenate([self.known.facts, self.appended.facts])

    @cached_property
    def groups(self) -> Mapping[str, np.ndarray]:
        appended = self.appended.groups
        return {name: np.r_[code, appended[name]] for name, code in self.known.groups.items()}

    @property
    def size(self) -> int:
        return self.known.size + self.appended.size

    def ids(self, at: np.ndarray) -> np.ndarray:
        return self._lookup(at, lambda part, some: part.ids(some))

    def rows(self, at: np.ndarray) -> np.ndarray:
        return self._lookup(at, lambda part, some: part.rows(some))

    def group_codes(self, group: str, at: np.ndarray) -> np.ndarray:
        return self._lookup(at, lambda part, some: part.group_codes(group, some))

    def group_shares(self, group: str, at: np.ndarray) -> np.ndarray:
        return self._lookup(at, lambda part, some: part.group_shares(group, some))

    def _lookup(
        self, at: np.ndarray, lookup: Callable[[ItemStats, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        is_appended = at >= self.known.size
        values = lookup(self.known, np.where(is_appended, 0, at))
        values[is_appended] = lookup(self.appended, at[is_appended] - self.known.size)
        return values

    @property
    def group_counts(self) -> dict[str, int]:
        return self.known.group_counts

    def top(self, measure: str, count: int) -> np.ndarray:
        appended = np.arange(self.known.size, self.size)
        return _best(self, measure, np.r_[self.known.top(measure, count), appended])[:count]


def _trend(facts: np.ndarray) -> np.ndarray:
    """Compute the damped growth of buyers. The square root damps small counts."""
    recent, earlier = (facts[:, FACTS.index(name)] for name in ("buyers_28", "buyers_before"))
    return (recent - earlier) / np.sqrt(recent + earlier + 1)


MEASURES = {"popular": lambda facts: facts[:, FACTS.index("buyers_28")], "trending": _trend}


def _best(stats: ItemStats, measure: str, candidates: np.ndarray) -> np.ndarray:
    """Sort the items with a positive measure. The best come first. Ties keep their order."""
    values = MEASURES[measure](stats.rows(candidates))
    above = np.flatnonzero(values > 0)
    return candidates[above[np.argsort(-values[above], kind="stable")]]


def compute_item_stats(
    history: History, totals: Pairs, day: int, catalogue: Catalogue, min_buyers: int
) -> ItemStats:
    """Compute statistics of items with enough buyers.

    `history`: events before midnight of ``day``.
    """
    bought = totals.days > 0
    buyers = _counts(totals.item[bought], len(history.items))
    is_barred = np.array([item in catalogue.barred for item in history.items], dtype=bool)
    selected = np.flatnonzero((buyers >= max(min_buyers, 1)) & ~is_barred)
    statistics = _facts(history, totals, day, buyers)
    facts = np.column_stack([statistics[name][selected] for name in FACTS])
    facts[:, FACTS.index("price")] = _prices(history, history.items[selected], selected, catalogue)
    items = history.items[selected]
    return ItemStats(items, facts.astype(np.float32), catalogue.groups(items))


def _facts(history: History, totals: Pairs, day: int, buyers: np.ndarray) -> dict[str, np.ndarray]:
    """Compute each statistic except the price."""
    size = len(history.items)
    bought = totals.days > 0
    item, days = totals.item[bought], totals.days[bought]
    is_first, is_recent = totals.first[bought] <= RECENT, totals.last[bought] <= RECENT
    ages = {"buyers_7": (7, 0), "buyers_28": (RECENT, 0), "buyers_before": (2 * RECENT, RECENT)}
    windows = {
        name: _counts(history.between(day - start, day - end)[1], size)
        for name, (start, end) in ages.items()
    }
    is_repeated = days > 1
    first_buyers, earlier_buyers = _counts(item[is_first], size), _counts(item[~is_first], size)
    age = np.zeros(size)
    np.maximum.at(age, item, totals.first[bought])
    repeat_buyers = _counts(item[is_repeated], size)
    gaps = totals.gap[bought][is_repeated]
    gap_sum = np.bincount(item[is_repeated], weights=gaps, minlength=size)
    return {
        "buyers": buyers,
        **windows,
        "trend": (windows["buyers_28"] + 1) / (windows["buyers_before"] + 1),
        "first_buyers": first_buyers,
        "first_share": first_buyers / (windows["buyers_28"] + 1),
        "age": age,
        "repeated": (repeat_buyers + 0.5) / (buyers + 3),  # smoothing for few buyers
        "returned": (_counts(item[~is_first & is_recent], size) + 0.3) / (earlier_buyers + 6),
        "usual_gap": np.where(repeat_buyers > 0, gap_sum / np.maximum(repeat_buyers, 1), np.nan),
        "days_each": np.bincount(item, weights=days, minlength=size) / np.maximum(buyers, 1),
        "price": np.full(size, np.nan),
    }


def _prices(
    history: History, items: np.ndarray, selected: np.ndarray, catalogue: Catalogue
) -> np.ndarray:
    """Return catalogue prices, else mean prices paid. NaN if both are unknown."""
    size = len(history.items)
    units, paid = (
        np.bincount(history.item, weights=amount, minlength=size)[selected]
        for amount in (history.units, history.paid)
    )
    average = np.where((units > 0) & (paid > 0), paid / np.where(units > 0, units, 1), np.nan)
    listed = np.array([catalogue.prices.get(item, np.nan) for item in items], dtype=float)
    return np.where(listed > 0, listed, average)


def _counts(positions: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(positions, minlength=size).astype(np.float64)
