"""Lists for customers: the recommender's order, what may be sold, no title twice, and an honest reason for each item."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from retention.progress import Progress, silent
from retention.recommend import reasons
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.blas_threads import one_blas_thread
from retention.recommend.catalogue import Catalogue, catalogue
from retention.recommend.evaluation_context import Moment, log_odds, mixed
from retention.recommend.event_weights import weighted
from retention.recommend.explaining import POPULAR_DAYS, Item, Offered, explained
from retention.recommend.history import History, days_at, pairs, shift_of
from retention.recommend.history_cache import bought, histories
from retention.recommend.id_index import positions
from retention.recommend.item_stats import FACTS, Shelf
from retention.recommend.matrices import entries
from retention.recommend.newcomers import NOBODY, Newcomers, newcomers
from retention.recommend.ranking.features import Scene
from retention.recommend.reranking import (
    ANYTHING,
    SOFT,
    Facts,
    Taken,
    Terms,
    assortment,
    choose,
    together,
)
from retention.recommend.responses import add_feedback
from retention.recommend.single_model import alone
from retention.recommend.sources import Learned, Said, candidates

if TYPE_CHECKING:
    from retention.lake import Lake

BATCH = 256
Filler = tuple[str, str, str]  # item, source, reason


def recommend(
    trained: TrainedRecommender | None,
    lake: "Lake",
    customer_ids: Sequence[str],
    *,
    k: int = 10,
    as_of: datetime,
    terms: Terms = ANYTHING,
    progress: Progress = silent,
) -> dict[str, list[Item]]:
    """What each customer would like next, best first.

    Parameters
    ----------
    trained : TrainedRecommender or None
        None: one's own purchases and popularity only.
    lake : Lake
    customer_ids : sequence of str
        Unknown ones get what is popular, among customers of their segments where those are known.
    k : int
        Items a list; shorter only where fewer may be sold.
    as_of : datetime
        Nothing at or after it is seen.
    terms : Terms
        What may be on a list; by default only what always holds. Where the policy is ``repeat`` and nothing a customer
        bought may be offered again, their list is what is popular, and says so item by item.

    Returns
    -------
    dict
        Customer id → list of `Item`, in the order asked.
    """
    wanted = list(dict.fromkeys(customer_ids))
    shop = Shop(trained, lake, as_of, terms)
    found: dict[str, list[Item]] = {}
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        history = weighted(
            histories(lake, as_of, batch), trained.worth if trained is not None else {}
        )
        if terms.heard is not None:
            history = add_feedback(history, terms.heard, as_of)
        with one_blas_thread():
            found.update(_lists(shop, history, batch, k))
        progress(start + len(batch), len(wanted), "Choosing what each customer would like")
    return found


class Shop:
    """What is the same for everybody: what was learned, the catalogue, and how many bought each item."""

    def __init__(
        self,
        trained: TrainedRecommender | None,
        lake: "Lake",
        as_of: datetime,
        terms: Terms = ANYTHING,
    ) -> None:
        self.trained, self.terms = trained, terms
        self.lake = lake
        self.as_of, self.at = as_of, days_at(as_of, shift_of(lake.zone, as_of))
        self.items = catalogue(lake)
        self.range = assortment(self.items, terms.rules, terms.margin)
        self.lately = bought(lake, as_of, POPULAR_DAYS)
        self._ever = partial(bought, lake, as_of)

    @cached_property
    def learned(self) -> Learned:
        """As trained; without training nothing but what sells lately."""
        if self.trained is not None:
            return self.trained.learned
        return Learned(_extended(_NOTHING, self.items, self.lately), None, None)

    @cached_property
    def fillers(self) -> tuple[Filler, ...]:
        """Item, source, reason: what is popular lately, then ever, then anything that may be sold."""
        popular = (
            (item_id, "popular", reasons.popular(count, days))
            for counts, days in ((self.lately, POPULAR_DAYS), (self._ever(), None))
            for item_id, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        )
        rest = ((item_id, "catalogue", reasons.CATALOGUE) for item_id in self.items.titles)
        return tuple(one for one in (*popular, *rest) if one[0] not in self.range.barred)


_NOTHING = Shelf(
    np.empty(0, dtype=object),
    np.empty((0, len(FACTS)), dtype=np.float32),
    {name: np.empty(0, dtype=np.int32) for name in ("category", "type", "brand")},
)


def _extended(shelf: Shelf, items: Catalogue, counts: dict[str, int]) -> Shelf:
    """The shelf with further items at its end, in order of id, of which only the number of recent buyers and the price are known."""
    further = np.array(sorted(counts), dtype=object)
    facts = np.full((len(further), len(FACTS)), np.nan, dtype=np.float32)
    facts[:, FACTS.index("buyers")] = facts[:, FACTS.index("buyers_28")] = [
        counts[item] for item in further
    ]
    facts[:, FACTS.index("price")] = [items.prices.get(item, np.nan) for item in further]
    return shelf.with_(further, facts)


def _facts(shop: Shop, shelf: Shelf, column: np.ndarray) -> Facts:
    """Of some items in the order of the shelf: those learned of, and those that this batch brought to its end."""
    learned = shop.learned.shelf.items
    ends = int(np.searchsorted(column, len(learned)))
    known = shop.range.of_shelf(learned).of(column[:ends])
    return known.and_(shop.range.facts(shelf.names(column[ends:]))) if ends < len(column) else known


def _offered(shop: Shop, history: History, batch: list[str]) -> Offered:
    known = set(history.customers)
    history = replace(
        history,
        customers=np.r_[
            history.customers, np.array([one for one in batch if one not in known], dtype=object)
        ],
    )  # those without a history come last: nothing of theirs is there to be placed
    learned = shop.learned.shelf
    place = positions(learned.items, history.items)
    unlearned = np.flatnonzero(place < 0)
    rare = {item: shop.lately.get(item, 0) for item in history.items[unlearned]}
    shelf = _extended(learned, shop.items, rare)
    place[unlearned] = len(learned.items) + np.arange(len(unlearned))  # both in order of id
    scene = Scene(shelf, history, pairs(history, shop.at), shop.at, place)
    now = Moment(shop.learned, scene)
    rows = np.arange(len(history.customers))
    policy = shop.terms.rules.policy
    said = Said(shop.learned, scene.liked)
    row, column, value = _scores(shop, now, said, rows)
    kept = value > 0  # not what nothing speaks for
    if policy != "both":
        kept &= (now.bought.toarray()[row, column] > 0) == (policy == "repeat")
    fresh = _newcomers(shop, scene)
    kept &= ~np.isin(row, fresh.rows)
    more = fresh.scores.tocoo()
    row, column, value = (
        np.r_[line[kept], theirs]
        for line, theirs in ((row, fresh.rows[more.row]), (column, more.col), (value, more.data))
    )
    column, place = np.unique(
        column, return_inverse=True
    )  # of a shelf few are offered to anybody here
    scores, facts = np.full((len(rows), len(column)), -np.inf), _facts(shop, shelf, column)
    scores[row, place] = value
    _without_disliked(scene, scores, column)
    _without_refused(shop, scores, facts, scene.history.customers)
    return Offered(now, column, scores, facts, said, fresh)


def _newcomers(shop: Shop, scene: Scene) -> Newcomers:
    """Nothing is said of them without training, nor by a model that stands alone; and they have bought nothing again."""
    cold = shop.trained.cold if shop.trained is not None else None
    if cold is None or shop.terms.rules.policy == "repeat":
        return NOBODY
    return newcomers(shop.lake, shop.as_of, scene, cold, shop.learned.shelf.items)


def _scores(
    shop: Shop, now: Moment, said: Said, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Customers, items, and how good they are for them: by the model alone, the ranker, or the mixture."""
    single = shop.trained is not None and shop.trained.alone
    ranker = shop.trained.ranking(shop.terms.rules.policy) if shop.trained is not None else None
    if ranker is not None and not single:
        # It learned from customers who like something, alone: strangers get what is popular.
        known = np.flatnonzero(np.diff(now.scene.liked.indptr)[rows] > 0)
        found = candidates(now.learned, now.scene, rows[known], heard=said.of(known))
        return known[found.row], found.column, expit(log_odds(ranker, found))
    dense = (
        alone(shop.lake, now)(rows) if single else mixed(now, lambda rows: said.others[rows])(rows)
    )
    row, column = np.nonzero(dense > 0)
    return row, column, dense[row, column].astype(float)


def _without_disliked(scene: Scene, scores: np.ndarray, column: np.ndarray) -> None:
    """What a customer brought back is not offered to them for being popular."""
    bad = np.flatnonzero(scene.disliked)
    theirs = scene.place[scene.seen.item[bad]]
    at = np.searchsorted(column, theirs)
    there = at < len(column)
    there[there] = column[at[there]] == theirs[there]
    scores[scene.seen.customer[bad[there]], at[there]] = -np.inf


def _without_refused(shop: Shop, scores: np.ndarray, facts: Facts, customers: np.ndarray) -> None:
    """What is "not for them", and its other sizes and colours, is not offered."""
    refused = shop.terms.refused
    said = [(row, item) for row, who in enumerate(customers) for item in refused.get(who, ())]
    if said:
        variant = facts.groups["variant"]
        theirs = shop.range.facts(np.array([item for _, item in said], dtype=object)).groups[
            "variant"
        ]
        gone = np.zeros(
            (len(scores), int(max(variant.max(initial=0), theirs.max())) + 1), dtype=bool
        )
        gone[[row for row, _ in said], theirs] = True
        scores[gone[:, variant]] = -np.inf


def _lists(shop: Shop, history: History, batch: list[str], k: int) -> dict[str, list[Item]]:
    found = _offered(shop, history, batch)
    rules = shop.terms.rules
    scene, shares = found.now.scene, None
    if rules.diversity:
        shares = _facts(shop, scene.shelf, np.arange(scene.shelf.size)).shares(scene.liked)
    worth = found.scores * found.facts.earns**rules.by_margin
    at = choose(worth, found.facts, shop.range.caps, k, shares=shares, diversity=rules.diversity)
    told = explained(shop.learned, shop.items, shop.lately, found, at)
    rows = positions(scene.history.customers, batch)
    return {
        customer: _filled(shop, found, int(row), told[row], k)
        for customer, row in zip(batch, rows, strict=True)
    }


def _filled(shop: Shop, found: Offered, row: int, chosen: list[Item], k: int) -> list[Item]:
    """The list, filled up to ``k``: never empty where anything may be sold."""
    policy = shop.terms.rules.policy
    if policy == "repeat" and chosen:
        return chosen
    scene = found.now.scene
    own = scene.seen.customer == row
    had = own & (scene.seen.days > 0) if policy == "new" else np.zeros_like(own)
    skip = {*scene.history.items[scene.seen.item[had]]}
    unwanted = shop.terms.refused.get(str(scene.history.customers[row]), ())
    fresh = _fresh(shop, found, row, k) if policy != "repeat" else []
    kept = chosen[: k - len(fresh)]
    new = list(_popular(shop, kept, len(kept) + len(fresh), skip, unwanted, fresh))
    if new:  # what comes back to the places that none of them took stands beside them, too
        beside = together(shop.range, [*kept, *new], chosen[len(kept) :], k, unwanted)
        chosen = [*(item for item in beside if item not in new), *new]
    if len(chosen) >= k:
        return chosen
    bad = {*scene.history.items[scene.seen.item[own & scene.disliked]]}
    return [*chosen, *_popular(shop, chosen, k, skip, unwanted, shop.fillers, last=bad)]


def _fresh(shop: Shop, found: Offered, row: int, k: int) -> list[Filler]:
    """For the share of a list that explores: items too new to have buyers, by what the customer likes that they read like."""
    cold = shop.trained.cold if shop.trained is not None else None
    count = int(shop.terms.rules.explore * k)
    if cold is None or not count:
        return []
    column, value = entries(found.now.scene.liked, row)
    liked = np.zeros(found.now.scene.shelf.size, dtype=value.dtype)
    liked[column] = value
    likes = cold.known_to_new @ liked[: cold.alike.shape[0]]
    made: list[Filler] = []
    for at in np.argsort(-likes, kind="stable")[: 10 * count]:
        item_id = str(cold.fresh[at])
        if len(made) < count and likes[at] > 0 and item_id not in shop.range.barred:
            near, alike = entries(cold.known_to_new, at)
            nearest = str(shop.learned.shelf.items[near[int(np.argmax(alike * liked[near]))]])
            made.append((item_id, "new_item", reasons.new_item(shop.items.title(nearest))))
    return made


def _popular(
    shop: Shop,
    chosen: list[Item],
    k: int,
    skip: set[str],
    unwanted: Collection[str],
    fillers: Sequence[Filler],
    last: Collection[str] = (),
) -> Iterator[Item]:
    """What fills a list up: under all caps; where that is not enough, without those that give way. ``last`` stand behind all else."""
    caps, taken = shop.range.caps, Taken(shop.range, unwanted)
    for item in chosen:
        taken.add(item.item_id)
    left = k - len(chosen)
    hard = {name: cap for name, cap in caps.items() if name not in SOFT}
    for kept, late in product((caps, hard), (False, True) if last else (False,)):
        for item_id, source, why in fillers if left else ():
            if (item_id in last) is not late or item_id in skip or taken.full(item_id, kept):
                continue
            taken.add(item_id)
            left -= 1
            yield Item(item_id, shop.items.title(item_id), 0.0, source, why)
            if not left:
                return
