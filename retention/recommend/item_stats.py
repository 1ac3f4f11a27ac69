"""Compute statistics of items at a cutoff.

They cover popularity, repeat purchases and prices. The statistics are fixed at training and stored
in the artefact. A list then needs only one customer's history.
"""

from collections.abc import Mapping
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
MAX_TOP = 400  # of the best items; `candidates` asks for no more


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
        """Append a few items with unknown groups, without ranking the others again."""
        if not len(items):
            return self
        codes = np.full(len(items), -1, dtype=np.int32)
        groups = {name: np.concatenate([known, codes]) for name, known in self.groups.items()}
        extended = ItemStats(
            np.concatenate([self.items, items]), np.concatenate([self.facts, facts]), groups
        )
        share = np.zeros(len(items), dtype=np.float32)
        appended = np.arange(self.size, extended.size)
        vars(extended).update(
            group_counts=self.group_counts,
            shares={name: np.concatenate([known, share]) for name, known in self.shares.items()},
            _best={
                name: _best(extended, name, np.concatenate([known, appended]))
                for name, known in self._best.items()
            },
        )
        return extended

    @property
    def size(self) -> int:
        """Return the number of items."""
        return len(self.items)

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
        """Return the best items by one of `MEASURES`, at most `MAX_TOP`.

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


def _trend(facts: np.ndarray) -> np.ndarray:
    """Compute the damped growth of buyers. The square root damps small counts."""
    recent, earlier = (facts[:, FACTS.index(name)] for name in ("buyers_28", "buyers_before"))
    return (recent - earlier) / np.sqrt(recent + earlier + 1)


MEASURES = {"popular": lambda facts: facts[:, FACTS.index("buyers_28")], "trending": _trend}


def _best(stats: ItemStats, measure: str, candidates: np.ndarray) -> np.ndarray:
    """Sort the items with a positive measure. The best come first. Ties keep their order."""
    values = MEASURES[measure](stats.facts[candidates])
    above = np.flatnonzero(values > 0)
    return candidates[above[np.argsort(-values[above], kind="stable")]][:MAX_TOP]


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
