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
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.list_rules import PLAIN, RecommendRules, names_with_words
from retention.recommend.catalogue import Catalogue, variant_of

POOL_FACTOR = 20  # candidates per place; the rest is only used if these do not fill a list
SMOOTHING = 0.01  # share of the customer's own shares in the list's; avoids log 0
GROUPS = ("title", "variant", "brand", "type")
MIN_PROFIT = 1e-6  # relative; puts items without profit last
SOFT_CAPS = ("type",)  # give way before a list stays short


@dataclass(frozen=True, slots=True)
class Terms:
    """Hold the rules for lists.

    Parameters
    ----------
    rules : RecommendRules
        The shop's policy.
    margin : float
        Default margin as a share of the price, for items without one.
    refused : mapping
        Customer id → items marked "not for them".
    feedback : DataFrame, optional
        Feedback on items as history lines (`responses.verdict_events`).
    """

    rules: RecommendRules = PLAIN
    margin: float = 0.3
    refused: Mapping[str, Collection[str]] = field(default_factory=dict)
    feedback: Any = None


DEFAULT_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """Hold what re-ranking needs of each item.

    Parameters
    ----------
    allowed : ndarray of bool
    groups : mapping of str to ndarray of int
        Code of each kind of group (`GROUPS`); −1 without.
    category : ndarray of int
        −1 without.
    profit : ndarray of float
        Price · margin relative to the catalogue's median; 1 without a price.
    """

    allowed: np.ndarray
    groups: Mapping[str, np.ndarray]
    category: np.ndarray
    profit: np.ndarray

    def concat(self, other: "ItemFacts") -> "ItemFacts":
        """Append further items."""
        return ItemFacts(
            np.concatenate([self.allowed, other.allowed]),
            {
                name: np.concatenate([codes, other.groups[name]])
                for name, codes in self.groups.items()
            },
            np.concatenate([self.category, other.category]),
            np.concatenate([self.profit, other.profit]),
        )

    def select(self, items: np.ndarray) -> "ItemFacts":
        """Select items by position."""
        groups = {name: codes[items] for name, codes in self.groups.items()}
        return ItemFacts(self.allowed[items], groups, self.category[items], self.profit[items])

    def shares(self, liked: csr_matrix) -> np.ndarray:
        """Compute preference shares, as (customers × categories)."""
        known = np.flatnonzero(self.category >= 0)
        shape = (len(self.category), int(self.category.max(initial=0)) + 1)
        membership = csr_matrix((np.ones(len(known)), (known, self.category[known])), shape=shape)
        totals = (liked @ membership).toarray()
        return totals / np.maximum(totals.sum(axis=1, keepdims=True), 1e-12)


class Assortment:
    """Apply the shop's rules to the catalogue.

    Parameters
    ----------
    items : Catalogue
    rules : RecommendRules
    margin : float
        Default margin of items without one.
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
        for group, names in (
            ("category", rules.exclude_categories),
            ("label", rules.exclude_brands),
        ):
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
        """Relative profit of each item with a price.

        See `ItemFacts`.
        """
        items = np.array(
            [item for item, price in self.items.prices.items() if price > 0], dtype=object
        )
        margin = np.array([self.items.margins.get(item, np.nan) for item in items])
        price = np.array([self.items.prices[item] for item in items])
        profit = price * np.where(np.isnan(margin), self.margin, margin)
        typical = np.median(profit[profit > 0]) if (profit > 0).any() else 1.0
        return dict(zip(items, (profit / typical).clip(min=MIN_PROFIT), strict=True))

    @property
    def caps(self) -> dict[str, int]:
        """Largest number of items of a group.

        By kind of group, for one list.
        """
        own = {"brand": self.rules.max_per_brand, "type": self.rules.max_per_type}
        return {
            "title": 1,
            "variant": 1,
            **{name: cap for name, cap in own.items() if cap is not None},
        }

    def group_names(self, item: str) -> tuple[str, ...]:
        """Return the names of an item's groups.

        In the order of `GROUPS`, then the category. Unknown names are empty.
        """
        if item not in self._names:
            title, groups = self.items.title(item), self.items.named
            parent = self.items.parents.get(item)
            self._names[item] = (
                title.casefold(),
                parent or f"{variant_of(title)}\x1f{groups.get('brand', {}).get(item, '')}",
                groups.get("label", {}).get(item, "").casefold(),
                groups.get("type", {}).get(item, ""),
                groups.get("category", {}).get(item, ""),
            )
        return self._names[item]

    def cached_facts(self, ids: np.ndarray) -> ItemFacts:
        """Return `facts`.

        The last result is cached, because trained items repeat.
        """
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
        category = codes.pop("category")
        return ItemFacts(
            allowed, codes, category, np.array([self.profit.get(item, 1.0) for item in ids])
        )

    def _coded(self, group: str, names: list[str]) -> np.ndarray:
        """Code names.

        A name has the same code in every batch.
        """
        codes = self._codes[group]
        return np.array(
            [codes.setdefault(name, len(codes)) if name else -1 for name in names], dtype=np.int32
        )


class GroupCounts:
    """Count the groups on a growing list.

    Parameters
    ----------
    assortment : Assortment
    refused : collection of str
        Items the customer refused; their variants are full, too.
    """

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
        """Return whether another item breaks a cap.

        Parameters
        ----------
        item_id : str
        caps : mapping of str to int
        """
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

    Parameters
    ----------
    assortment : Assortment
    first, rest : sequence
        Items with an ``item_id``; ``first`` comes before ``rest``.
    k : int
        Length of the list.
    refused : collection of str
        Items the customer refused.

    Returns
    -------
    list
    """
    counts = GroupCounts(assortment, refused)
    merged: list[Any] = []
    caps = {name: cap for name, cap in assortment.caps.items() if name not in SOFT_CAPS}
    for item in (*first, *rest):
        if (
            len(merged) < k
            and item.item_id not in assortment.barred
            and not counts.is_full(item.item_id, caps)
        ):
            counts.add(item.item_id)
            merged.append(item)
    return merged


def cached_assortment(items: Catalogue, rules: RecommendRules, margin: float) -> Assortment:
    """Return the assortment, cached if unchanged.

    Parameters
    ----------
    items : Catalogue
    rules : RecommendRules
    margin : float

    Returns
    -------
    Assortment
    """
    cached = _CACHE[0] if _CACHE else None
    if (
        cached is None
        or cached.items is not items
        or (cached.rules, cached.margin) != (rules, margin)
    ):
        cached = Assortment(items, rules, margin)
        _CACHE[:] = [cached]
    return cached


_CACHE: list[Assortment] = []


def choose(
    scores: np.ndarray,
    facts: ItemFacts,
    caps: Mapping[str, int],
    k: int,
    *,
    shares: np.ndarray | None = None,
    diversity: float = 0.0,
) -> np.ndarray:
    """Choose the items of each customer's list.

    Parameters
    ----------
    scores : ndarray, (customers × items)
        −∞ for items this customer may not be offered.
    facts : ItemFacts
        Items not allowed are never chosen.
    caps : mapping
        Group → largest number on a list. Those in `SOFT_CAPS` give way before a list stays short.
    k : int
        Length of a list.
    shares : ndarray, (customers × categories), optional
        Category shares of each customer's preferences, summing to 1; zeros without purchases.
    diversity : float
        λ of (1 − λ) · score / best score − λ · KL(shares ‖ shares of the list), maximised greedily.

    Returns
    -------
    ndarray of int, (customers × k)
        Positions in the order chosen; empty places are −1.
    """
    scores = np.where(facts.allowed, scores, -np.inf)
    available = np.flatnonzero(np.isfinite(scores).any(axis=0))  # few of all items for one customer
    if k < 1 or not len(available):
        return np.full((len(scores), max(k, 0)), -1, dtype=np.int64)
    scores, facts = scores[:, available], facts.select(available)
    calibration_shares = shares if diversity > 0 else None
    chosen = _greedy(scores, facts, caps, k, calibration_shares, diversity, POOL_FACTOR * k)
    short = np.flatnonzero(
        (chosen < 0).any(axis=1) & (np.isfinite(scores).sum(axis=1) > (chosen >= 0).sum(axis=1))
    )
    if len(short):  # rare: search all items and drop the soft caps
        hard_caps = {name: cap for name, cap in caps.items() if name not in SOFT_CAPS}
        short_shares = None if calibration_shares is None else calibration_shares[short]
        chosen[short] = _fill(scores[short], facts, caps, hard_caps, k, short_shares, diversity)
    return np.where(chosen >= 0, available[chosen], -1)


def _fill(
    scores: np.ndarray,
    facts: ItemFacts,
    caps: Mapping[str, int],
    hard_caps: Mapping[str, int],
    k: int,
    shares: np.ndarray | None,
    diversity: float,
) -> np.ndarray:
    """Choose under all caps, then fill up.

    Empty places ignore the soft caps.
    """
    pool = scores.shape[1]
    chosen = _greedy(scores, facts, caps, k, shares, diversity, pool)
    if hard_caps == dict(caps) or (chosen >= 0).all():
        return chosen
    return _greedy(scores, facts, hard_caps, k, None, 0.0, pool, begun=chosen)


def _greedy(
    scores: np.ndarray,
    facts: ItemFacts,
    caps: Mapping[str, int],
    k: int,
    shares: np.ndarray | None,
    diversity: float,
    pool: int,
    begun: np.ndarray | None = None,
) -> np.ndarray:
    """Choose place by place for all lists.

    Continue the lists in ``begun``.
    """
    rows = np.arange(len(scores))
    at = _best(scores, pool)
    pool_scores = np.take_along_axis(scores, at, 1)
    gain = _relative(pool_scores) if shares is not None else pool_scores
    codes = {name: facts.groups[name][at] for name in caps}
    counts = {name: np.zeros(at.shape, dtype=np.int32) for name in caps}
    is_open = np.isfinite(pool_scores)
    calibration = _Calibration(shares, facts, at, diversity) if shares is not None else None
    chosen = np.full((len(scores), k), -1, dtype=np.int64)
    for place in range(k):
        value = gain if calibration is None else calibration.value(gain, place)
        pick = np.where(is_open, value, -np.inf).argmax(axis=1)
        if begun is not None:
            forced = begun[:, place] >= 0
            pick = np.where(forced, (at == begun[:, place][:, None]).argmax(axis=1), pick)
        is_valid = is_open[rows, pick]
        if not is_valid.any():
            break
        chosen[is_valid, place] = at[rows, pick][is_valid]
        is_open[rows[is_valid], pick[is_valid]] = False
        for name, cap in caps.items():
            picked = codes[name][rows, pick][:, None]
            counts[name] += (codes[name] == picked) & (picked >= 0) & is_valid[:, None]
            is_open &= counts[name] < cap
        if calibration is not None:
            calibration.add(pick, is_valid)
    return chosen


class _Calibration:
    """Compute each candidate's gain in calibration."""

    def __init__(self, shares: np.ndarray, facts: ItemFacts, at: np.ndarray, weight: float) -> None:
        self.category, self.weight = facts.category[at], weight
        inside = self.category >= 0
        self.share = np.where(inside, np.take_along_axis(shares, self.category.clip(0), 1), 0.0)
        self.count = np.zeros(at.shape)

    def value(self, gain: np.ndarray, place: int) -> np.ndarray:
        """Combine gain and calibration for a place.

        The other terms of the divergence are equal for all candidates.
        """
        before, after = (
            (1 - SMOOTHING) * (self.count + extra) / (place + 1) + SMOOTHING * self.share
            for extra in (0, 1)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            improvement = np.where(self.share > 0, self.share * np.log(after / before), 0.0)
        return (1 - self.weight) * gain + self.weight * improvement

    def add(self, pick: np.ndarray, is_valid: np.ndarray) -> None:
        """Count the chosen items."""
        picked = self.category[np.arange(len(pick)), pick][:, None]
        self.count += (self.category == picked) & is_valid[:, None]


def _relative(scores: np.ndarray) -> np.ndarray:
    """Divide by each row's best score.

    This makes λ independent of the scale.
    """
    best = np.abs(scores[:, :1])
    return scores / np.where(np.isfinite(best) & (best > 0), best, 1.0)


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the best positions of each row.

    Ties are in order of position.
    """
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
