"""Lists for customers: blended scores, what may be sold, no title twice, and an honest reason for each item."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent
from retention.recommend import reasons
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.blend import Mixture, blended, collaborative_scores, learnable
from retention.recommend.catalogue import Catalogue, catalogue
from retention.recommend.matrices import Axes, ids, top
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
    shop = _shop(trained, lake, as_of)
    found: dict[str, list[Item]] = {}
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        found.update(_lists(shop, trained, preferences(lake, as_of, batch), batch, k))
        progress(start + len(batch), len(wanted), "Choosing what each customer would like")
    return found


@dataclass(frozen=True, slots=True)
class Shop:
    """What is the same for everybody: the catalogue, and how many bought each item lately and ever."""

    items: Catalogue
    lately: dict[str, int]
    ever: dict[str, int]


def _shop(trained: TrainedRecommender | None, lake: "Lake", as_of: datetime) -> Shop:
    items = catalogue(lake)
    return Shop(items, buyers(lake, as_of, POPULAR_DAYS), buyers(lake, as_of))


def _lists(
    shop: Shop, trained: TrainedRecommender | None, frame: "DataFrame", batch: list[str], k: int
) -> dict[str, list[Item]]:
    learned = trained.items if trained is not None else np.empty(0, dtype=object)
    axes = Axes(ids(batch), ids({*learned, *frame["item_id"], *shop.lately}))
    places = axes.place(frame)
    mixture = trained.mixture if trained is not None else Mixture()
    faded = places.matrix(frame[decayed(mixture.half_life)].to_numpy())
    histories = Axes(axes.customers, learned).place(frame).matrix(learnable(frame))
    others = np.zeros((len(axes.customers), len(axes.items)), dtype=np.float32)
    if trained is not None and trained.model is not None:
        others[:, positions(axes.items, learned)] = collaborative_scores(trained.model, histories)
    popularity = np.array([shop.lately.get(item, 0) for item in axes.items], dtype=np.float32)
    scores = blended(faded.toarray(), others, popularity, mixture.weight)
    scores[:, [item in shop.items.barred for item in axes.items]] = -np.inf
    scores[scores <= 0] = -np.inf

    told = {customer: lines for customer, lines in frame.groupby("customer_id")}  # noqa: C416 - a GroupBy, not pairs
    lists = {}
    for customer, row in zip(batch, positions(axes.customers, batch), strict=True):
        known = told.get(customer)
        chosen = [
            _item(
                shop,
                trained,
                known,
                histories[row],
                str(axes.items[at]),
                float(scores[row, at]),
                others[row, at],
            )
            for at in _distinct(shop.items, axes.items, scores[row], k)
        ]
        lists[customer] = [*chosen, *_fill(shop, chosen, k)]
    return lists


def _distinct(items: Catalogue, axis: np.ndarray, scores: np.ndarray, k: int) -> list[int]:
    """The best positions, no title twice: two pack sizes may share one, and a list that repeats itself looks broken."""
    seen: set[str] = set()
    kept: list[int] = []
    for at in top(scores, 5 * k):
        title = items.title(str(axis[at])).casefold()
        if title not in seen:
            seen.add(title)
            kept.append(int(at))
        if len(kept) == k:
            break
    return kept


def _item(
    shop: Shop,
    trained: TrainedRecommender | None,
    known: "DataFrame | None",
    history: csr_matrix,
    item_id: str,
    score: float,
    others: float,
) -> Item:
    line = None if known is None else _line(known, item_id)
    source, why = reasons.own(line)
    if not why and others > 0 and trained is not None and trained.model is not None:
        source, why = "collaborative", _because(shop, trained, history, item_id)
    if not why:
        source, why = "popular", reasons.popular(shop.lately.get(item_id, 0), POPULAR_DAYS)
    return Item(item_id, shop.items.title(item_id), round(score, 6), source, why)


def _line(known: "DataFrame", item_id: str) -> dict[str, Any] | None:
    lines = known[known["item_id"] == item_id]
    return None if lines.empty else lines.iloc[0].to_dict()


def _because(shop: Shop, trained: TrainedRecommender, history: csr_matrix, item_id: str) -> str:
    """The entry of the history that adds most to this item's score."""
    assert trained.model is not None
    parts = trained.model.contributions(history, positions(trained.items, [item_id]))[0]
    strongest = str(trained.items[history.indices[int(np.argmax(parts))]])
    return reasons.because(shop.items.title(strongest))


def _fill(shop: Shop, chosen: list[Item], k: int) -> list[Item]:
    """What is popular lately, then ever, then anything that may be sold: never an empty list where there are items."""
    have = {item.item_id for item in chosen}
    titles = {item.title.casefold() for item in chosen}
    filled: list[Item] = []
    for item_id, source, why in _chain(shop):
        if len(chosen) + len(filled) >= k:
            break
        title = shop.items.title(item_id)
        if item_id in have or item_id in shop.items.barred or title.casefold() in titles:
            continue
        have.add(item_id)
        titles.add(title.casefold())
        filled.append(Item(item_id, title, 0.0, source, why))
    return filled


def _chain(shop: Shop):
    for counts, days in ((shop.lately, POPULAR_DAYS), (shop.ever, None)):
        for item_id in sorted(counts, key=lambda item: (-counts[item], item)):
            yield item_id, "popular", reasons.popular(counts[item_id], days)
    for item_id in shop.items.titles:
        yield item_id, "catalogue", reasons.CATALOGUE
