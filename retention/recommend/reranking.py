"""Re-rank items into lists under shop rules.

Items are chosen by score. A list has each title and variant once, and caps on a brand and a product
type. The type cap gives way before a list stays short. Diversity calibrates the list to the
customer's category shares. It does not use maximal marginal relevance (MMR), which would punish
coffee for a customer who buys mostly coffee.

References
----------
Steck (2018), "Calibrated recommendations", RecSys.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.list_rules import PLAIN, RecommendRules, names_with_words
from retention.recommend.catalogue import Catalogue, variant_of
from retention.recommend.matrices import ones_at

POOL_FACTOR = 20  # candidates per place; the rest is only used if these do not fill a list
SMOOTHING = 0.01  # share of the customer's own shares in the list's; avoids log 0
GROUPS = ("title", "variant", "brand", "type")
MIN_PROFIT = 1e-6  # relative; puts items without profit last
SOFT_CAPS = ("type",)  # give way before a list stays short


@dataclass(frozen=True, slots=True)
class Terms:
    """Hold the rules for lists.

    `margin`: default margin as a share of the price, for items without one.
    `feedback`: feedback on items as history lines (`responses.verdict_events`).
    """

    rules: RecommendRules = PLAIN
    margin: float = 0.3
    refused: Mapping[str, Collection[str]] = field(default_factory=dict)
    feedback: Any = None


DEFAULT_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """Hold what re-ranking needs of each item.

    `groups`: code of each kind of group (`GROUPS`); −1 without.
    `category`: −1 without.
    `profit`: price · margin relative to the catalogue's median; 1 without a price.
    """

    allowed: np.ndarray
    groups: Mapping[str, np.ndarray]
    category: np.ndarray
    profit: np.ndarray

    def concat(self, other: "ItemFacts") -> "ItemFacts":
        """Append further items."""
        return ItemFacts(
            np.r_[self.allowed, other.allowed],
            {name: np.r_[codes, other.groups[name]] for name, codes in self.groups.items()},
            np.r_[self.category, other.category],
            np.r_[self.profit, other.profit],
        )

    def select(self, items: np.ndarray) -> "ItemFacts":
        """Select items by position."""
        groups = {name: codes[items] for name, codes in self.groups.items()}
        return ItemFacts(self.allowed[items], groups, self.category[items], self.profit[items])

    def shares(self, liked: csr_matrix) -> np.ndarray:
        """Compute preference shares, as (customers × categories)."""
        shape = (len(self.category), int(self.category.max(initial=0)) + 1)
        membership = ones_at(np.arange(shape[0]), self.category, shape, float)
        totals = (liked @ membership).toarray()
        return totals / np.maximum(totals.sum(axis=1, keepdims=True), 1e-12)


class Assortment:
    """Apply the shop's rules to the catalogue.

    `margin`: default margin of items without one.
    """

    def __init__(
        self, items: Catalogue, rules: RecommendRules = PLAIN, margin: float = 0.3
    ) -> None:
        self.items, self.rules, self.margin = items, rules, margin
        self._codes: dict[str, dict[str, int]] = {name: {} for name in (*GROUPS, "category")}
        self._names: dict[str, tuple[str, ...]] = {}
        self._last: tuple[Any, ItemFacts] | None = None

    @cached_property
    def barred(self) -> frozenset[str]:
        """Items barred by the catalogue or a rule."""
        rules, items = self.rules, self.items
        barred = frozenset(rules.exclude_items) | items.barred
        named = {"category": rules.exclude_categories, "label": rules.exclude_brands}
        for group, names in named.items():
            if excluded := {name.casefold() for name in names}:
                group_of = items.named.get(group, {})
                barred |= {item for item, name in group_of.items() if name.casefold() in excluded}
        words_of = items.named.get("words", {})
        excluded_words = names_with_words({*words_of.values()}, rules.exclude_category_words)
        barred |= {item for item, words in words_of.items() if words in excluded_words}
        low, high = rules.min_price or 0.0, rules.max_price or np.inf
        barred |= {item for item, price in items.prices.items() if price < low or price > high}
        if (min_margin := rules.min_margin) is not None:
            margins = {item: margin for item, margin in items.margins.items() if margin == margin}
            barred |= {item for item, margin in margins.items() if margin < min_margin}
            if self.margin < min_margin:
                barred |= frozenset(items.titles) - margins.keys()
        return barred

    @cached_property
    def profit(self) -> dict[str, float]:
        """Relative profit of each item with a price. See `ItemFacts`."""
        prices = {item: price for item, price in self.items.prices.items() if price > 0}
        margin = np.array([self.items.margins.get(item, np.nan) for item in prices])
        profit = np.array([*prices.values()]) * np.where(np.isnan(margin), self.margin, margin)
        typical = np.median(profit[profit > 0]) if (profit > 0).any() else 1.0
        return dict(zip(prices, (profit / typical).clip(min=MIN_PROFIT), strict=True))

    @property
    def caps(self) -> dict[str, int]:
        """Largest number of items of a group. By kind of group, for one list."""
        rules = self.rules
        caps = {"title": 1, "variant": 1, "brand": rules.max_per_brand, "type": rules.max_per_type}
        return {name: cap for name, cap in caps.items() if cap is not None}

    def group_names(self, item: str) -> tuple[str, ...]:
        """Return the names of an item's groups.

        In the order of `GROUPS`, then the category. Unknown names are empty.
        """
        if item not in self._names:
            title, group = self.items.title(item), partial(self.items.group, item)
            variant = f"{variant_of(title)}\x1f{group('brand')}"
            self._names[item] = (
                title.casefold(),
                self.items.parents.get(item) or variant,
                group("label").casefold(),
                group("type"),
                group("category"),
            )
        return self._names[item]

    def cached_facts(self, ids: np.ndarray) -> ItemFacts:
        """Return `facts`. The last result is cached, because trained items repeat."""
        if self._last is None or self._last[0] is not ids:
            self._last = ids, self.facts(ids)
        return self._last[1]

    def facts(self, ids: np.ndarray) -> ItemFacts:
        """Return the facts of some items."""
        names = [self.group_names(item) for item in ids]
        codes = {
            name: self._coded(name, [item_names[number] for item_names in names])
            for number, name in enumerate((*GROUPS, "category"))
        }
        allowed = np.array([item not in self.barred for item in ids], dtype=bool)
        profit = np.array([self.profit.get(item, 1.0) for item in ids])
        return ItemFacts(allowed, codes, codes.pop("category"), profit)

    def _coded(self, group: str, names: list[str]) -> np.ndarray:
        """Code names. A name has the same code in every batch."""
        codes = self._codes[group]
        return np.array(
            [codes.setdefault(name, len(codes)) if name else -1 for name in names], dtype=np.int32
        )


class GroupCounts:
    """Count the groups on a growing list."""

    def __init__(self, assortment: Assortment, refused: Collection[str] = ()) -> None:
        self.assortment = assortment
        self._counts: Counter[tuple[str, str]] = Counter()
        for item_id in refused:
            self._count(item_id, ("title", "variant"))

    def _count(self, item_id: str, groups: Collection[str]) -> None:
        names = self.assortment.group_names(item_id)
        self._counts.update((name, names[GROUPS.index(name)]) for name in groups)

    def add(self, item_id: str) -> None:
        """Count an item added to the list."""
        self._count(item_id, self.assortment.caps)

    def is_full(self, item_id: str, caps: Mapping[str, int]) -> bool:
        """Return whether another item breaks a cap."""
        names = self.assortment.group_names(item_id)
        return any(
            names[GROUPS.index(name)] and self._counts[name, names[GROUPS.index(name)]] >= cap
            for name, cap in caps.items()
        )


def merge_lists(
    assortment: Assortment,
    first: Sequence[Any],
    rest: Sequence[Any],
    k: int,
    refused: Collection[str] = (),
) -> list[Any]:
    """Merge two lists under the hard caps.

    Barred items are left out.

    `first`, `rest`: items with an ``item_id``; ``first`` comes before ``rest``.
    """
    counts, caps = GroupCounts(assortment, refused), hard(assortment.caps)
    merged: list[Any] = []
    for item in (*first, *rest):
        is_allowed = item.item_id not in assortment.barred
        if len(merged) < k and is_allowed and not counts.is_full(item.item_id, caps):
            counts.add(item.item_id)
            merged.append(item)
    return merged


def cached_assortment(items: Catalogue, rules: RecommendRules, margin: float) -> Assortment:
    """Return the assortment, cached if unchanged."""
    for cached in _CACHE:
        if cached.items is items and (cached.rules, cached.margin) == (rules, margin):
            return cached
    _CACHE[:] = [Assortment(items, rules, margin)]
    return _CACHE[0]


_CACHE: list[Assortment] = []


def hard(caps: Mapping[str, int]) -> dict[str, int]:
    """Return the caps that never give way."""
    return {name: cap for name, cap in caps.items() if name not in SOFT_CAPS}


@dataclass(frozen=True, slots=True)
class Calibration:
    """Weigh calibration against scores.

    `shares`: category shares of each customer's preferences, summing to 1; zeros without purchases.
    `weight`: λ of (1 − λ) · score / best score − λ · KL(shares ‖ shares of the list), maximised
    greedily; above 0.
    """

    shares: np.ndarray
    weight: float

    def of(self, rows: np.ndarray) -> "Calibration":
        """Select customers."""
        return Calibration(self.shares[rows], self.weight)


def choose(
    scores: np.ndarray,
    facts: ItemFacts,
    caps: Mapping[str, int],
    k: int,
    calibration: Calibration | None = None,
) -> np.ndarray:
    """Choose the items of each customer's list.

    `facts`: items not allowed are never chosen.
    `caps`: group → largest number on a list. Those in `SOFT_CAPS` give way before a list stays
    short.
    Returns: positions in the order chosen; empty places are −1.
    """
    scores = np.where(facts.allowed, scores, -np.inf)
    available = np.flatnonzero(np.isfinite(scores).any(axis=0))  # few of all items for one customer
    if k < 1 or not len(available):
        return np.full((len(scores), max(k, 0)), -1, dtype=np.int64)
    scores, facts = scores[:, available], facts.select(available)
    empty = np.full((len(scores), k), -1, dtype=np.int64)
    chosen = _greedy(_Pool(scores, POOL_FACTOR * k, facts, caps), empty, calibration)
    is_short = np.isfinite(scores).sum(axis=1) > (chosen >= 0).sum(axis=1)
    short = np.flatnonzero((chosen < 0).any(axis=1) & is_short)
    if len(short):  # rare: search all items and drop the soft caps
        calibration = calibration and calibration.of(short)
        pool = _Pool(scores[short], scores.shape[1], facts, caps)
        filled = _greedy(pool, empty[short], calibration)
        if hard(caps) != dict(caps) and (filled < 0).any():
            filled = _greedy(_Pool(scores[short], scores.shape[1], facts, hard(caps)), filled)
        chosen[short] = filled
    return np.where(chosen >= 0, available[chosen], -1)


class _Pool:
    """Hold the best items of each customer, and the groups under caps."""

    def __init__(
        self, scores: np.ndarray, size: int, facts: ItemFacts, caps: Mapping[str, int]
    ) -> None:
        self.at, self.caps = _best(scores, size), caps
        self.scores = np.take_along_axis(scores, self.at, 1)
        self.codes = {name: facts.groups[name][self.at] for name in caps}
        self.category = facts.category[self.at]


def _greedy(pool: _Pool, begun: np.ndarray, calibration: Calibration | None = None) -> np.ndarray:
    """Choose place by place for all lists. Continue the lists in ``begun``."""
    at, codes = pool.at, pool.codes
    rows = np.arange(len(at))
    counts = {name: np.zeros(at.shape, dtype=np.int32) for name in codes}
    is_open = np.isfinite(pool.scores)
    calibrated = _Calibrated(calibration, pool) if calibration is not None else None
    chosen = np.full_like(begun, -1)
    for place in range(begun.shape[1]):
        value = pool.scores if calibrated is None else calibrated.value(place)
        pick = np.where(is_open, value, -np.inf).argmax(axis=1)
        forced = begun[:, [place]]
        pick = np.where(forced[:, 0] >= 0, (at == forced).argmax(axis=1), pick)
        is_valid = is_open[rows, pick]
        if not is_valid.any():
            break
        chosen[is_valid, place] = at[rows, pick][is_valid]
        is_open[rows[is_valid], pick[is_valid]] = False
        for name, cap in pool.caps.items():
            picked = codes[name][rows, pick][:, None]
            counts[name] += (codes[name] == picked) & (picked >= 0) & is_valid[:, None]
            is_open &= counts[name] < cap
        if calibrated is not None:
            calibrated.add(pick, is_valid)
    return chosen


class _Calibrated:
    """Compute each candidate's gain in calibration."""

    def __init__(self, calibration: Calibration, pool: _Pool) -> None:
        self.category, self.weight = pool.category, calibration.weight
        self.gain = _relative(pool.scores)
        own = np.take_along_axis(calibration.shares, self.category.clip(0), 1)
        self.share = np.where(self.category >= 0, own, 0.0)
        self.count = np.zeros(pool.at.shape)

    def value(self, place: int) -> np.ndarray:
        """Combine score and calibration for a place.

        The other terms of the divergence are equal for all candidates.
        """
        before, after = (
            (1 - SMOOTHING) * (self.count + extra) / (place + 1) + SMOOTHING * self.share
            for extra in (0, 1)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            improvement = np.where(self.share > 0, self.share * np.log(after / before), 0.0)
        return (1 - self.weight) * self.gain + self.weight * improvement

    def add(self, pick: np.ndarray, is_valid: np.ndarray) -> None:
        """Count the chosen items."""
        picked = self.category[np.arange(len(pick)), pick][:, None]
        self.count += (self.category == picked) & is_valid[:, None]


def _relative(scores: np.ndarray) -> np.ndarray:
    """Divide by each row's best score. This makes λ independent of the scale."""
    best = np.abs(scores[:, :1])
    return scores / np.where(np.isfinite(best) & (best > 0), best, 1.0)


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the best positions of each row. Ties are in order of position."""
    if count < scores.shape[1]:
        threshold = -np.partition(-scores, count - 1, axis=1)[:, [count - 1]]
        is_kept = scores >= threshold
        tied = np.flatnonzero(is_kept.sum(axis=1) > count)
        if len(tied):
            is_tied = scores[tied] == threshold[tied]
            room = count - (is_kept[tied] & ~is_tied).sum(axis=1, keepdims=True)
            is_kept[tied] &= ~is_tied | (np.cumsum(is_tied, axis=1, dtype=np.int32) <= room)
        pool = np.nonzero(is_kept)[1].reshape(len(scores), count)
    else:
        pool = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, pool, 1), axis=1, kind="stable")
    return np.take_along_axis(pool, order, 1)
