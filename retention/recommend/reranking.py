"""Fit for a campaign: which of a customer's scored items go on their list.

In the order of their scores, and no item twice: neither the same title nor another size or colour of the same product; at
most so many of one brand; at most so many of one type of product, as long as there are others. Where the shop wants
diversity, the list is calibrated to the shares in which the customer buys categories (Steck 2018) and not made as unlike
itself as possible (MMR): who buys mostly coffee is won back with coffee, and MMR would punish just that.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.list_rules import PLAIN, RecommendRules
from retention.recommend.catalogue import Catalogue
from retention.recommend.variants import variant_of

POOL = 20  # candidates a place on the list; more are looked at only where these do not fill it
SMOOTH = (
    0.01  # of the customer's own shares in those of the list, so that no logarithm is of nothing
)
GROUPS = ("title", "variant", "brand", "type")
NOTHING = 1e-6  # of what an item usually earns: it comes last where that counts
SOFT = ("type",)  # a wish: it gives way before a list stays short


@dataclass(frozen=True, slots=True)
class Terms:
    """What may be on a list.

    Parameters
    ----------
    rules : RecommendRules
        The shop's policy.
    margin : float
        Share of the price that is taken to be left where an item does not say.
    refused : mapping
        Customer id → items that are "not for them".
    heard : DataFrame, optional
        What was said of items, as lines of a history (`responses.verdict_events`).
    """

    rules: RecommendRules = PLAIN
    margin: float = 0.3
    refused: Mapping[str, Collection[str]] = field(default_factory=dict)
    heard: Any = None


ANYTHING = Terms()  # that may be sold


@dataclass(frozen=True, slots=True)
class Facts:
    """Of each item: whether it may be offered at all, its group of each kind (`GROUPS`), its category (−1 without), and what one
    that is sold earns: price · margin, by the median of the catalogue; 1 without a price."""

    allowed: np.ndarray
    groups: Mapping[str, np.ndarray]
    category: np.ndarray
    earns: np.ndarray

    def and_(self, more: "Facts") -> "Facts":
        """These items and further ones."""
        return Facts(
            np.concatenate([self.allowed, more.allowed]),
            {
                name: np.concatenate([codes, more.groups[name]])
                for name, codes in self.groups.items()
            },
            np.concatenate([self.category, more.category]),
            np.concatenate([self.earns, more.earns]),
        )

    def of(self, items: np.ndarray) -> "Facts":
        """Some of these items, by position."""
        groups = {name: codes[items] for name, codes in self.groups.items()}
        return Facts(self.allowed[items], groups, self.category[items], self.earns[items])

    def shares(self, liked: csr_matrix) -> np.ndarray:
        """In which shares each customer likes the categories (customers × categories), of (customers × items)."""
        inside = np.flatnonzero(self.category >= 0)
        shape = (len(self.category), int(self.category.max(initial=0)) + 1)
        each = csr_matrix((np.ones(len(inside)), (inside, self.category[inside])), shape=shape)
        found = (liked @ each).toarray()
        return found / np.maximum(found.sum(axis=1, keepdims=True), 1e-12)


class Assortment:
    """The catalogue under the shop's rules; ``margin`` is that of items that carry none."""

    def __init__(
        self, items: Catalogue, rules: RecommendRules = PLAIN, margin: float = 0.3
    ) -> None:
        self.items, self.rules, self.margin = items, rules, margin
        self._codes: dict[str, dict[str, int]] = {name: {} for name in (*GROUPS, "category")}
        self._words: dict[str, tuple[str, ...]] = {}
        self._last: tuple[Any, Facts] | None = None

    @cached_property
    def barred(self) -> frozenset[str]:
        """The items that may not be offered to anybody: by the catalogue, or by a rule."""
        rules, items = self.rules, self.items
        unwanted = frozenset(rules.exclude_items) | items.barred
        for group, names in (
            ("category", rules.exclude_categories),
            ("label", rules.exclude_brands),
        ):
            if wanted := {name.casefold() for name in names}:
                named = items.named.get(group, {})
                unwanted |= {item for item, name in named.items() if name.casefold() in wanted}
        low, high = rules.min_price or 0.0, rules.max_price or np.inf
        unwanted |= {item for item, price in items.prices.items() if price < low or price > high}
        if (floor := rules.min_margin) is not None:
            known = {item: margin for item, margin in items.margins.items() if margin == margin}
            unwanted |= {item for item, margin in known.items() if margin < floor}
            if self.margin < floor:
                unwanted |= frozenset(items.titles) - known.keys()
        return unwanted

    @cached_property
    def earns(self) -> dict[str, float]:
        """Of each item with a price; see `Facts`."""
        items = np.array(
            [item for item, price in self.items.prices.items() if price > 0], dtype=object
        )
        margin = np.array([self.items.margins.get(item, np.nan) for item in items])
        price = np.array([self.items.prices[item] for item in items])
        money = price * np.where(np.isnan(margin), self.margin, margin)
        typical = np.median(money[money > 0]) if (money > 0).any() else 1.0
        return dict(zip(items, (money / typical).clip(min=NOTHING), strict=True))

    @property
    def caps(self) -> dict[str, int]:
        """How many of one group a list may have."""
        own = {"brand": self.rules.max_per_brand, "type": self.rules.max_per_type}
        return {
            "title": 1,
            "variant": 1,
            **{name: cap for name, cap in own.items() if cap is not None},
        }

    def words(self, item: str) -> tuple[str, ...]:
        """The item's groups by name, in the order of `GROUPS`, and its category; empty where nobody said."""
        if item not in self._words:
            title, named = self.items.title(item), self.items.named
            parent = self.items.parents.get(item)
            self._words[item] = (
                title.casefold(),
                parent or f"{variant_of(title)}\x1f{named.get('brand', {}).get(item, '')}",
                named.get("label", {}).get(item, "").casefold(),
                named.get("type", {}).get(item, ""),
                named.get("category", {}).get(item, ""),
            )
        return self._words[item]

    def of_shelf(self, ids: np.ndarray) -> Facts:
        """As `facts`; the last answer is kept, for a trained shelf is asked about again and again."""
        if self._last is None or self._last[0] is not ids:
            self._last = ids, self.facts(ids)
        return self._last[1]

    def facts(self, ids: np.ndarray) -> Facts:
        """Of these items, in their order."""
        words = [self.words(item) for item in ids]
        numbered = {
            name: self._numbered(name, [told[place] for told in words])
            for place, name in enumerate((*GROUPS, "category"))
        }
        allowed = np.array([item not in self.barred for item in ids], dtype=bool)
        category = numbered.pop("category")
        return Facts(
            allowed, numbered, category, np.array([self.earns.get(item, 1.0) for item in ids])
        )

    def _numbered(self, group: str, names: list[str]) -> np.ndarray:
        """The same name has the same number in every batch."""
        codes = self._codes[group]
        return np.array(
            [codes.setdefault(name, len(codes)) if name else -1 for name in names], dtype=np.int32
        )


class Taken:
    """What a list has of each group already, for lists that are put together one item at a time.

    Parameters
    ----------
    range_ : Assortment
    unwanted : collection of str
        Items that are not for the customer: neither they nor their variants are let in.
    """

    def __init__(self, range_: Assortment, unwanted: Collection[str] = ()) -> None:
        self.range = range_
        self._counts: Counter[tuple[str, str]] = Counter()
        for item_id in unwanted:
            self._count(item_id, ("title", "variant"))

    def _count(self, item_id: str, groups: Collection[str]) -> None:
        words = self.range.words(item_id)
        self._counts.update((name, words[GROUPS.index(name)]) for name in groups)

    def add(self, item_id: str) -> None:
        """Count an item that is on the list now."""
        self._count(item_id, self.range.caps)

    def full(self, item_id: str, caps: Mapping[str, int]) -> bool:
        """Whether one more of any of its groups would break a cap."""
        words = self.range.words(item_id)
        return any(
            words[GROUPS.index(name)] and self._counts[name, words[GROUPS.index(name)]] >= cap
            for name, cap in caps.items()
        )


def together(
    range_: Assortment,
    first: Sequence[Any],
    rest: Sequence[Any],
    k: int,
    unwanted: Collection[str] = (),
) -> list[Any]:
    """``first`` before ``rest``, without what may not be offered to this customer and under the caps that do not give way."""
    taken = Taken(range_, unwanted)
    kept: list[Any] = []
    caps = {name: cap for name, cap in range_.caps.items() if name not in SOFT}
    for item in (*first, *rest):
        if (
            len(kept) < k
            and item.item_id not in range_.barred
            and not taken.full(item.item_id, caps)
        ):
            taken.add(item.item_id)
            kept.append(item)
    return kept


def assortment(items: Catalogue, rules: RecommendRules, margin: float) -> Assortment:
    """As last asked for, as long as the catalogue and the rules are the same."""
    kept = _KEPT[0] if _KEPT else None
    if kept is None or kept.items is not items or (kept.rules, kept.margin) != (rules, margin):
        kept = Assortment(items, rules, margin)
        _KEPT[:] = [kept]
    return kept


_KEPT: list[Assortment] = []


def choose(
    scores: np.ndarray,
    facts: Facts,
    caps: Mapping[str, int],
    k: int,
    *,
    shares: np.ndarray | None = None,
    diversity: float = 0.0,
) -> np.ndarray:
    """The items of each customer's list.

    Parameters
    ----------
    scores : ndarray, (customers × items)
        −∞ for what this customer may not be offered.
    facts : Facts
        Of the items; those not allowed are never chosen.
    caps : mapping
        Group → how many of it a list may have. Those in `SOFT` give way where the list would stay short.
    k : int
        The length of a list.
    shares : ndarray, (customers × categories), optional
        In which each customer buys them, summing to 1; zeros for who has not bought yet.
    diversity : float
        λ of (1 − λ) · score / best score − λ · KL(shares ‖ those of the list), maximised greedily.

    Returns
    -------
    ndarray of int, (customers × k)
        Positions, in the order chosen; −1 where nothing more may be offered.
    """
    scores = np.where(facts.allowed, scores, -np.inf)
    offered = np.flatnonzero(np.isfinite(scores).any(axis=0))  # to one customer, few of a shelf
    if k < 1 or not len(offered):
        return np.full((len(scores), max(k, 0)), -1, dtype=np.int64)
    scores, facts = scores[:, offered], facts.of(offered)
    calibrated = shares if diversity > 0 else None
    chosen = _greedy(scores, facts, caps, k, calibrated, diversity, POOL * k)
    short = np.flatnonzero(
        (chosen < 0).any(axis=1) & (np.isfinite(scores).sum(axis=1) > (chosen >= 0).sum(axis=1))
    )
    if len(short):  # rare: look at everything, and let the wishes go
        hard = {name: cap for name, cap in caps.items() if name not in SOFT}
        again = None if calibrated is None else calibrated[short]
        chosen[short] = _filled(scores[short], facts, caps, hard, k, again, diversity)
    return np.where(chosen >= 0, offered[chosen], -1)


def _filled(
    scores: np.ndarray,
    facts: Facts,
    caps: Mapping[str, int],
    hard: Mapping[str, int],
    k: int,
    shares: np.ndarray | None,
    diversity: float,
) -> np.ndarray:
    """First under all caps, then without the soft ones for the places that are left."""
    whole = scores.shape[1]
    chosen = _greedy(scores, facts, caps, k, shares, diversity, whole)
    if hard == dict(caps) or (chosen >= 0).all():
        return chosen
    return _greedy(scores, facts, hard, k, None, 0.0, whole, begun=chosen)


def _greedy(
    scores: np.ndarray,
    facts: Facts,
    caps: Mapping[str, int],
    k: int,
    shares: np.ndarray | None,
    diversity: float,
    pool: int,
    begun: np.ndarray | None = None,
) -> np.ndarray:
    """One place of all lists at a time; ``begun`` lists are gone on with."""
    rows = np.arange(len(scores))
    at = _best(scores, pool)
    left = np.take_along_axis(scores, at, 1)
    gain = _relative(left) if shares is not None else left
    codes = {name: facts.groups[name][at] for name in caps}
    taken = {name: np.zeros(at.shape, dtype=np.int32) for name in caps}
    open_ = np.isfinite(left)
    calibration = _Calibration(shares, facts, at, diversity) if shares is not None else None
    chosen = np.full((len(scores), k), -1, dtype=np.int64)
    for place in range(k):
        value = gain if calibration is None else calibration.value(gain, place)
        pick = np.where(open_, value, -np.inf).argmax(axis=1)
        if begun is not None:
            forced = begun[:, place] >= 0
            pick = np.where(forced, (at == begun[:, place][:, None]).argmax(axis=1), pick)
        good = open_[rows, pick]
        if not good.any():
            break
        chosen[good, place] = at[rows, pick][good]
        open_[rows[good], pick[good]] = False
        for name, cap in caps.items():
            picked = codes[name][rows, pick][:, None]
            taken[name] += (codes[name] == picked) & (picked >= 0) & good[:, None]
            open_ &= taken[name] < cap
        if calibration is not None:
            calibration.took(pick, good)
    return chosen


class _Calibration:
    """How much each candidate brings the list's categories towards the customer's shares."""

    def __init__(self, shares: np.ndarray, facts: Facts, at: np.ndarray, weight: float) -> None:
        self.category, self.weight = facts.category[at], weight
        inside = self.category >= 0
        self.share = np.where(inside, np.take_along_axis(shares, self.category.clip(0), 1), 0.0)
        self.count = np.zeros(at.shape)

    def value(self, gain: np.ndarray, place: int) -> np.ndarray:
        """All other terms of the divergence are the same for every candidate."""
        now, then = (
            (1 - SMOOTH) * (self.count + more) / (place + 1) + SMOOTH * self.share
            for more in (0, 1)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            closer = np.where(self.share > 0, self.share * np.log(then / now), 0.0)
        return (1 - self.weight) * gain + self.weight * closer

    def took(self, pick: np.ndarray, good: np.ndarray) -> None:
        """Count what was chosen."""
        picked = self.category[np.arange(len(pick)), pick][:, None]
        self.count += (self.category == picked) & good[:, None]


def _relative(scores: np.ndarray) -> np.ndarray:
    """By the best of each row, so that λ means the same whatever the scores are."""
    best = np.abs(scores[:, :1])
    return scores / np.where(np.isfinite(best) & (best > 0), best, 1.0)


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Positions of the ``count`` highest of each row, best first; equal scores by position."""
    if count < scores.shape[1]:
        bar = -np.partition(-scores, count - 1, axis=1)[:, [count - 1]]
        kept = scores >= bar
        more = np.flatnonzero(
            kept.sum(axis=1) > count
        )  # equal scores at the pool's edge: the first of them
        if len(more):
            edge = scores[more] == bar[more]
            room = count - (kept[more] & ~edge).sum(axis=1, keepdims=True)
            kept[more] &= ~edge | (np.cumsum(edge, axis=1, dtype=np.int32) <= room)
        pool = np.nonzero(kept)[1].reshape(len(scores), count)
    else:
        pool = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, pool, 1), axis=1, kind="stable")
    return np.take_along_axis(pool, order, 1)
