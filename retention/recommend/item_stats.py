"""What is known of each item at one moment, whoever looks at it: how popular, how often bought again, its group.

Fixed when the recommender is trained and kept in its artefact, so that one customer's list needs only that
customer's history.
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
RECENT = 28  # days that count as "lately"


@dataclass(frozen=True)
class Shelf:
    """Items and facts about them.

    Parameters
    ----------
    items : ndarray of str, sorted
    facts : ndarray of float32, (items × `FACTS`)
        Distinct buyers ever, in the last 7 and 28 days and in the 28 before; their ratio; buyers who had it for the
        first time in the last 28 days and their share; days since it was first sold; share of buyers who bought it
        on several days; share of earlier buyers who bought it in the last 28 days; mean gap (days); days of
        purchase a buyer; price.
    groups : mapping of str to ndarray of int32
        For each of `GROUPS` the number of each item's group; −1 where nobody said.
    """

    items: np.ndarray
    facts: np.ndarray
    groups: Mapping[str, np.ndarray]

    def with_(self, items: np.ndarray, facts: np.ndarray) -> "Shelf":
        """These items and further ones, whose groups are not known."""
        if not len(items):
            return self
        rest = Shelf(
            items, facts, {name: np.full(len(items), -1, dtype=np.int32) for name in self.groups}
        )
        return Longer(self, rest) if self.size else rest

    @property
    def size(self) -> int:
        """How many items."""
        return len(self.items)

    def names(self, at: np.ndarray) -> np.ndarray:
        """Ids of the items at these positions."""
        return self.items[at]

    def told(self, at: np.ndarray) -> np.ndarray:
        """All facts of the items at these positions."""
        return self.facts[at]

    def code(self, group: str, at: np.ndarray) -> np.ndarray:
        """The number of the group of the items at these positions."""
        return self.groups[group][at]

    def fact(self, name: str) -> np.ndarray:
        """One fact of all items."""
        return self.facts[:, FACTS.index(name)]

    @cached_property
    def kinds(self) -> dict[str, int]:
        """How many groups of each kind there are."""
        return {group: int(code.max(initial=0)) + 1 for group, code in self.groups.items()}

    @cached_property
    def shares(self) -> dict[str, np.ndarray]:
        """Each item's share of the last 28 days' buyers of its group of each kind; 0 for one without a group."""
        return {group: self._share(group) for group in self.groups}

    def _share(self, group: str) -> np.ndarray:
        code, lately = self.groups[group], self.fact("buyers_28")
        known = code >= 0
        total = np.bincount(code[known], weights=lately[known], minlength=self.kinds[group])
        return np.where(known, lately / np.maximum(total[code], 1), 0.0).astype(np.float32)

    def within(self, group: str, at: np.ndarray) -> np.ndarray:
        """The shares of the items at these positions; an item without a group is alone in it."""
        return np.where(self.groups[group][at] >= 0, self.shares[group][at], np.float32(1))

    def best(self, measure: str, count: int) -> np.ndarray:
        """Positions of the items of which one of `MEASURES` is above 0, the best ``count``; equal ones by position."""
        return self._best[measure][:count]

    @cached_property
    def _best(self) -> dict[str, np.ndarray]:
        return {measure: _best(self, measure, np.arange(len(self.items))) for measure in MEASURES}

    def arrays(self) -> dict[str, np.ndarray]:
        """For the artefact."""
        return {"items": np.array(self.items, dtype=str), "facts": self.facts, **self.groups}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The shelf of these arrays."""
        groups = {name: arrays[name] for name in GROUPS}
        return cls(arrays["items"].astype(object), arrays["facts"], groups)


class Longer(Shelf):
    """A shelf with a few items put to its end: what is asked of some is looked up, for to copy the whole takes longer than a list."""

    first: Shelf
    rest: Shelf

    def __init__(self, first: Shelf, rest: Shelf) -> None:
        for name, part in (("first", first), ("rest", rest)):
            object.__setattr__(self, name, part)

    @cached_property
    def items(self) -> np.ndarray:
        return np.concatenate([self.first.items, self.rest.items])

    @cached_property
    def facts(self) -> np.ndarray:
        return np.concatenate([self.first.facts, self.rest.facts])

    @cached_property
    def groups(self) -> Mapping[str, np.ndarray]:
        return {
            name: np.r_[code, self.rest.groups[name]] for name, code in self.first.groups.items()
        }

    @property
    def size(self) -> int:
        return self.first.size + self.rest.size

    def names(self, at: np.ndarray) -> np.ndarray:
        return self._looked_up(at, lambda part, some: part.names(some))

    def told(self, at: np.ndarray) -> np.ndarray:
        return self._looked_up(at, lambda part, some: part.told(some))

    def code(self, group: str, at: np.ndarray) -> np.ndarray:
        return self._looked_up(at, lambda part, some: part.code(group, some))

    def within(self, group: str, at: np.ndarray) -> np.ndarray:
        return self._looked_up(at, lambda part, some: part.within(group, some))

    def _looked_up(
        self, at: np.ndarray, ask: Callable[[Shelf, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        late = at >= self.first.size
        found = ask(self.first, np.where(late, 0, at))
        found[late] = ask(self.rest, at[late] - self.first.size)
        return found

    @property
    def kinds(self) -> dict[str, int]:
        return self.first.kinds

    def best(self, measure: str, count: int) -> np.ndarray:
        further = np.arange(self.first.size, self.size)
        return _best(self, measure, np.concatenate([self.first.best(measure, count), further]))[
            :count
        ]


def _rising(facts: np.ndarray) -> np.ndarray:
    """Bought by more and more customers; with the square root, so that three buyers after none are no trend."""
    lately, before = (facts[:, FACTS.index(name)] for name in ("buyers_28", "buyers_before"))
    return (lately - before) / np.sqrt(lately + before + 1)


MEASURES = {"popular": lambda facts: facts[:, FACTS.index("buyers_28")], "trending": _rising}


def _best(shelf: Shelf, measure: str, among: np.ndarray) -> np.ndarray:
    """Those of some items, in order of position where they are alike, of which a measure is above 0; the best first."""
    found = MEASURES[measure](shelf.told(among))
    above = np.flatnonzero(found > 0)
    return among[above[np.argsort(-found[above], kind="stable")]]


def shelf(history: History, seen: Pairs, day: int, catalogue: Catalogue, min_buyers: int) -> Shelf:
    """The items bought by at least ``min_buyers`` customers before the midnight of ``day`` and not barred.

    Parameters
    ----------
    history : History
        Nothing at or after that midnight.
    seen : Pairs
        Of that history, from that midnight.
    """
    bought = seen.days > 0
    every = _counted(seen.item[bought], len(history.items))
    barred = np.array([item in catalogue.barred for item in history.items], dtype=bool)
    kept = np.flatnonzero((every >= max(min_buyers, 1)) & ~barred)
    told = _facts(history, seen, day, every)
    facts = np.column_stack([told[name][kept] for name in FACTS])
    facts[:, FACTS.index("price")] = _prices(history, history.items[kept], kept, catalogue)
    items = history.items[kept]
    return Shelf(items, facts.astype(np.float32), catalogue.groups(items))


def _facts(history: History, seen: Pairs, day: int, every: np.ndarray) -> dict[str, np.ndarray]:
    size = len(history.items)
    bought = seen.days > 0
    item, days = seen.item[bought], seen.days[bought]
    fresh, lately = seen.first[bought] <= RECENT, seen.last[bought] <= RECENT
    windows = {
        name: _counted(history.between(day - start, day - end)[1], size)
        for name, start, end in (
            ("buyers_7", 7, 0),
            ("buyers_28", RECENT, 0),
            ("buyers_before", 2 * RECENT, RECENT),
        )
    }
    several = days > 1
    firsts, known = _counted(item[fresh], size), _counted(item[~fresh], size)
    age = np.zeros(size)
    np.maximum.at(age, item, seen.first[bought])
    gaps = _counted(item[several], size)
    gap_sum = np.bincount(item[several], weights=seen.gap[bought][several], minlength=size)
    return {
        "buyers": every,
        **windows,
        "trend": (windows["buyers_28"] + 1) / (windows["buyers_before"] + 1),
        "first_buyers": firsts,
        "first_share": firsts / (windows["buyers_28"] + 1),
        "age": age,
        "repeated": (gaps + 0.5)
        / (every + 3),  # shrunk towards what is usual where few have bought
        "returned": (_counted(item[~fresh & lately], size) + 0.3) / (known + 6),
        "usual_gap": np.where(gaps > 0, gap_sum / np.maximum(gaps, 1), np.nan),
        "days_each": np.bincount(item, weights=days, minlength=size) / np.maximum(every, 1),
        "price": np.full(size, np.nan),
    }


def _prices(
    history: History, items: np.ndarray, kept: np.ndarray, catalogue: Catalogue
) -> np.ndarray:
    """The catalogue's price, else what was paid for a unit on average; missing where neither is known."""
    size = len(history.items)
    units = np.bincount(history.item, weights=history.units, minlength=size)[kept]
    paid = np.bincount(history.item, weights=history.paid, minlength=size)[kept]
    average = np.where((units > 0) & (paid > 0), paid / np.where(units > 0, units, 1), np.nan)
    told = np.array([catalogue.prices.get(item, np.nan) for item in items], dtype=float)
    return np.where(told > 0, told, average)


def _counted(positions: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(positions, minlength=size).astype(np.float64)
