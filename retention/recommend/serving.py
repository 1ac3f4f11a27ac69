"""Lists for customers: the recommender's order, what may be sold, no title twice, and an honest reason for each item."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import expit
from threadpoolctl import threadpool_limits

from retention.progress import Progress, silent
from retention.recommend import reasons
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.blend import Mixture
from retention.recommend.catalogue import Catalogue, catalogue
from retention.recommend.features import Scene, find
from retention.recommend.history import DAY, History, pairs, read
from retention.recommend.matrices import top
from retention.recommend.models import Collaborative
from retention.recommend.moments import Moment, Score, mixed, ranked
from retention.recommend.positions import positions
from retention.recommend.preferences import buyers
from retention.recommend.shelf import FACTS, Shelf
from retention.recommend.solo import alone
from retention.recommend.sources import Learned, had, others, tastes

if TYPE_CHECKING:
    from retention.lake import Lake

POPULAR_DAYS = 28
BATCH = 256


@dataclass(frozen=True, slots=True)
class Item:
    """One recommendation. ``source`` is buy_again, cart, viewed, collaborative, popular or catalogue."""

    item_id: str
    title: str
    score: float
    source: str
    why: str

    def as_dict(self) -> dict[str, Any]:
        """The contract's JSON."""
        return asdict(self)


def recommend(
    trained: TrainedRecommender | None,
    lake: "Lake",
    customer_ids: Sequence[str],
    *,
    k: int = 10,
    as_of: datetime,
    progress: Progress = silent,
) -> dict[str, list[Item]]:
    """What each customer would like next, best first.

    Parameters
    ----------
    trained : TrainedRecommender or None
        None: one's own purchases and popularity only.
    lake : Lake
    customer_ids : sequence of str
        Unknown ones get what is popular.
    k : int
        Items a list; shorter only where fewer may be sold.
    as_of : datetime
        Nothing at or after it is seen.

    Returns
    -------
    dict
        Customer id → list of `Item`, in the order asked.
    """
    wanted = list(dict.fromkeys(customer_ids))
    shop = Shop(trained, lake, as_of)
    found: dict[str, list[Item]] = {}
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        with threadpool_limits(limits=1, user_api="blas"):
            found.update(_lists(shop, read(lake, as_of, batch), batch, k))
        progress(start + len(batch), len(wanted), "Choosing what each customer would like")
    return found


class Shop:
    """What is the same for everybody: what was learned, the catalogue, and how many bought each item."""

    def __init__(self, trained: TrainedRecommender | None, lake: "Lake", as_of: datetime) -> None:
        self.trained = trained
        self.lake = lake
        self.at = as_of.timestamp() / DAY
        self.items = catalogue(lake)
        self.lately = buyers(lake, as_of, POPULAR_DAYS)
        self._ever = partial(buyers, lake, as_of)

    @cached_property
    def learned(self) -> Learned:
        """As trained; without training nothing but what sells lately."""
        if self.trained is not None:
            return self.trained.learned
        return Learned(_extended(_NOTHING, self.items, self.lately), None, None)

    @property
    def mixture(self) -> Mixture:
        """As tuned, or our default."""
        return self.trained.mixture if self.trained is not None else Mixture()

    @cached_property
    def fillers(self) -> tuple[tuple[str, str, str], ...]:
        """Item, source, reason: what is popular lately, then ever, then anything that may be sold."""
        popular = (
            (item_id, "popular", reasons.popular(count, days))
            for counts, days in ((self.lately, POPULAR_DAYS), (self._ever(), None))
            for item_id, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        )
        rest = ((item_id, "catalogue", reasons.CATALOGUE) for item_id in self.items.titles)
        return tuple(one for one in (*popular, *rest) if one[0] not in self.items.barred)


_NOTHING = Shelf(
    np.empty(0, dtype=object),
    np.empty((0, len(FACTS)), dtype=np.float32),
    {name: np.empty(0, dtype=np.int32) for name in ("category", "type", "brand")},
)


def _extended(shelf: Shelf, items: Catalogue, counts: dict[str, int]) -> Shelf:
    """The shelf with further items at its end, of which only the number of recent buyers and the price are known."""
    further = np.array(sorted(set(counts) - set(shelf.items)), dtype=object)
    facts = np.full((len(further), len(FACTS)), np.nan, dtype=np.float32)
    facts[:, FACTS.index("buyers")] = facts[:, FACTS.index("buyers_28")] = [counts[item] for item in further]
    facts[:, FACTS.index("price")] = [items.prices.get(item, np.nan) for item in further]
    none = np.full(len(further), -1, dtype=np.int32)  # their groups were not learned
    groups = {name: np.r_[code, none] for name, code in shelf.groups.items()}
    return Shelf(np.r_[shelf.items, further], np.vstack([shelf.facts, facts]), groups)


@dataclass(frozen=True, slots=True)
class Offered:
    """Some customers, the items any of them could be offered, and what speaks for each pair."""

    now: Moment
    scores: np.ndarray
    histories: csr_matrix
    said: np.ndarray

    def told(self, row: int, at: int) -> dict[str, Any] | None:
        """The customer's own history of the item."""
        scene = self.now.scene
        width = len(scene.history.items) + 1
        item = np.flatnonzero(scene.place == at)
        if not len(item):
            return None
        keys = scene.seen.customer.astype(np.int64) * width + scene.seen.item
        line, known = find(keys, np.array([row * width + int(item[0])]))
        return _line(scene, int(line[0])) if known[0] else None


def _line(scene: Scene, line: int) -> dict[str, Any]:
    seen = scene.seen
    return {
        "purchase_days": seen.days[line], "gap_days": seen.gap[line], "days_since_purchase": seen.last[line],
        "carts": seen.carts[line], "views": seen.views[line], "days_since": seen.since[line],
    }  # fmt: skip


def _offered(shop: Shop, history: History, batch: list[str]) -> Offered:
    known = set(history.customers)
    history = replace(
        history,
        customers=np.r_[
            history.customers, np.array([one for one in batch if one not in known], dtype=object)
        ],
    )  # those without a history come last: nothing of theirs is there to be placed
    rare = {item: shop.lately.get(item, 0) for item in history.items}
    shelf = _extended(shop.learned.shelf, shop.items, rare)
    place = positions(shelf.items, history.items)
    scene = Scene(shelf, history, pairs(history, shop.at), shop.at, place)
    shape = (len(history.customers), len(shelf.items))
    now = Moment(shop.learned, scene, had(scene, shape))
    rows = np.arange(shape[0])
    scores = _scores(shop, now)(rows).astype(float)
    histories = tastes(scene.seen, place, shape)
    scores[:, np.array([item in shop.items.barred for item in shelf.items], dtype=bool)] = -np.inf
    scores[scores <= 0] = -np.inf  # brought back, rated badly, or nothing speaks for it
    reasons_from = isinstance(shop.learned.model, Collaborative)
    said = others(shop.learned, histories) if reasons_from else np.zeros(shape, dtype=np.float32)
    return Offered(now, scores, histories, said)


def _scores(shop: Shop, now: Moment) -> Score:
    """The order of the model alone, of the ranker, or of the mixture."""
    if shop.trained is not None and shop.trained.alone:
        return alone(shop.lake, now)
    ranker = shop.trained.ranking("both") if shop.trained is not None else None
    if ranker is None:
        return mixed(now, shop.mixture)
    by_chance = ranked(now, ranker)
    return lambda rows: expit(by_chance(rows))


def _lists(shop: Shop, history: History, batch: list[str], k: int) -> dict[str, list[Item]]:
    found = _offered(shop, history, batch)
    rows = positions(found.now.scene.history.customers, batch)
    lists = {}
    for customer, row in zip(batch, rows, strict=True):
        chosen = [_item(shop, found, int(row), at) for at in _distinct(shop.items, found, int(row), k)]
        lists[customer] = _filled(shop, chosen, k)
    return lists


def _distinct(items: Catalogue, found: Offered, row: int, k: int) -> list[int]:
    """The best positions, no title twice: two pack sizes may share one, and a list that repeats itself looks broken."""
    kept: dict[str, int] = {}
    for at in top(found.scores[row], 5 * k):
        kept.setdefault(items.title(str(found.now.scene.shelf.items[at])).casefold(), int(at))
    return list(kept.values())[:k]


def _item(shop: Shop, found: Offered, row: int, at: int) -> Item:
    item_id = str(found.now.scene.shelf.items[at])
    source, why = reasons.own(found.told(row, at))
    if not why and found.said[row, at] > 0:
        source, why = "collaborative", _because(shop, found.histories[row], at)
    if not why:
        source, why = "popular", reasons.popular(shop.lately.get(item_id, 0), POPULAR_DAYS)
    return Item(item_id, shop.items.title(item_id), round(float(found.scores[row, at]), 6), source, why)


def _because(shop: Shop, history: csr_matrix, at: int) -> str:
    """The entry of the history that adds most to this item's score."""
    model = shop.learned.model
    assert isinstance(model, Collaborative)  # nothing else says why
    known = csr_matrix(history[:, : len(shop.learned.shelf.items)])
    parts = model.contributions(known, np.array([at]))[0]
    strongest = str(shop.learned.shelf.items[known.indices[int(np.argmax(parts))]])
    return reasons.because(shop.items.title(strongest))


def _filled(shop: Shop, chosen: list[Item], k: int) -> list[Item]:
    """The list, filled up to ``k``: never empty where anything may be sold."""
    if len(chosen) >= k:
        return chosen
    titles = {item.title.casefold(): item for item in chosen}
    have = {item.item_id for item in chosen}
    for item_id, source, why in shop.fillers:
        title = shop.items.title(item_id)
        if item_id not in have and title.casefold() not in titles:
            titles[title.casefold()] = Item(item_id, title, 0.0, source, why)
        if len(titles) >= k:
            break
    return list(titles.values())
