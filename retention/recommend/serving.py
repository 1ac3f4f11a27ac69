"""Lists for customers: blended scores, what may be sold, no title twice, and an honest reason for each item."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent
from retention.recommend import reasons
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.blend import Mixture, blended, collaborative_scores, learnable
from retention.recommend.catalogue import Catalogue, catalogue
from retention.recommend.matrices import Axes, ids, top
from retention.recommend.models import Collaborative
from retention.recommend.positions import positions
from retention.recommend.preferences import buyers, decayed, preferences

if TYPE_CHECKING:
    from pandas import DataFrame

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
        found.update(_lists(shop, preferences(lake, as_of, batch), batch, k))
        progress(start + len(batch), len(wanted), "Choosing what each customer would like")
    return found


class Shop:
    """What is the same for everybody: the model, the catalogue, and how many bought each item."""

    def __init__(self, trained: TrainedRecommender | None, lake: "Lake", as_of: datetime) -> None:
        self.trained = trained
        self.items = catalogue(lake)
        self.lately = buyers(lake, as_of, POPULAR_DAYS)
        self._ever = partial(buyers, lake, as_of)

    @property
    def learned(self) -> np.ndarray:
        """The items the model knows."""
        return self.trained.items if self.trained is not None else np.empty(0, dtype=object)

    @property
    def model(self) -> Collaborative | None:
        """The collaborative part."""
        return self.trained.model if self.trained is not None else None

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


@dataclass(frozen=True, slots=True)
class Candidates:
    """Some customers, the items any of them could be offered, and what speaks for each pair.

    ``line`` holds, for each pair, one more than the number of its line in the preferences; 0 where there is none.
    """

    axes: Axes
    scores: np.ndarray
    others: np.ndarray
    histories: csr_matrix
    line: csr_matrix
    preferences: "DataFrame"

    def told(self, row: int, at: int) -> dict[str, Any] | None:
        """The customer's own history of the item."""
        number = int(self.line[row, at])
        return self.preferences.iloc[number - 1].to_dict() if number else None


def _candidates(shop: Shop, frame: "DataFrame", batch: list[str]) -> Candidates:
    axes = Axes(ids(batch), ids({*shop.learned, *frame["item_id"], *shop.lately}))
    places = axes.place(frame)
    faded = places.matrix(frame[decayed(shop.mixture.half_life)].to_numpy())
    histories = Axes(axes.customers, shop.learned).place(frame).matrix(learnable(frame))
    others = np.zeros((len(axes.customers), len(axes.items)), dtype=np.float32)
    others[:, positions(axes.items, shop.learned)] = collaborative_scores(shop.model, histories)
    popularity = np.array([shop.lately.get(item, 0) for item in axes.items], dtype=np.float32)
    scores = blended(faded.toarray(), others, popularity, shop.mixture.weight)
    scores[:, np.array([item in shop.items.barred for item in axes.items], dtype=bool)] = -np.inf
    scores[scores <= 0] = -np.inf  # brought back, rated badly, or nothing speaks for it
    line = csr_matrix((np.flatnonzero(places.known) + 1, (places.rows, places.columns)), shape=places.shape)
    return Candidates(axes, scores, others, histories, line, frame)


def _lists(shop: Shop, frame: "DataFrame", batch: list[str], k: int) -> dict[str, list[Item]]:
    found = _candidates(shop, frame, batch)
    lists = {}
    for customer, row in zip(batch, positions(found.axes.customers, batch), strict=True):
        chosen = [_item(shop, found, int(row), at) for at in _distinct(shop.items, found, int(row), k)]
        lists[customer] = _filled(shop, chosen, k)
    return lists


def _distinct(items: Catalogue, found: Candidates, row: int, k: int) -> list[int]:
    """The best positions, no title twice: two pack sizes may share one, and a list that repeats itself looks broken."""
    kept: dict[str, int] = {}
    for at in top(found.scores[row], 5 * k):
        kept.setdefault(items.title(str(found.axes.items[at])).casefold(), int(at))
    return list(kept.values())[:k]


def _item(shop: Shop, found: Candidates, row: int, at: int) -> Item:
    item_id = str(found.axes.items[at])
    source, why = reasons.own(found.told(row, at))
    if not why and found.others[row, at] > 0:
        source, why = "collaborative", _because(shop, found.histories[row], item_id)
    if not why:
        source, why = "popular", reasons.popular(shop.lately.get(item_id, 0), POPULAR_DAYS)
    return Item(item_id, shop.items.title(item_id), round(float(found.scores[row, at]), 6), source, why)


def _because(shop: Shop, history: csr_matrix, item_id: str) -> str:
    """The entry of the history that adds most to this item's score."""
    assert shop.model is not None  # nothing else gives a positive score
    parts = shop.model.contributions(history, positions(shop.learned, [item_id]))[0]
    strongest = str(shop.learned[history.indices[int(np.argmax(parts))]])
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
