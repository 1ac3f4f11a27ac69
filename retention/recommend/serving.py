"""Serve recommendations to customers.

Scores, re-ranks, explains and fills up lists.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from retention.db.tables import ModelVersion
from retention.list_rules import ListPolicy
from retention.progress import Progress, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.candidates import CandidateSources, ModelScores, candidates
from retention.recommend.catalogue import Catalogue, catalogue
from retention.recommend.cold_start import NO_SCORES, ColdStartScores, score_newcomers
from retention.recommend.evaluation_context import Snapshot, log_odds, mixture_scorer
from retention.recommend.event_weights import apply_weights
from retention.recommend.history import History, days_at, pairs, shift_of
from retention.recommend.history_cache import buyer_counts, cached_histories
from retention.recommend.item_stats import FACTS, ItemStats
from retention.recommend.matrices import one_blas_thread, positions, row_entries
from retention.recommend.ranking.features import Interactions
from retention.recommend.reasons import (
    POPULAR_DAYS,
    RecommendedItem,
    ScoredItems,
    catalogue_reason,
    explain_lists,
    new_item_reason,
    popularity_reason,
)
from retention.recommend.reranking import (
    DEFAULT_TERMS,
    SOFT_CAPS,
    GroupCounts,
    ItemFacts,
    Terms,
    cached_assortment,
    choose,
    merge_lists,
)
from retention.recommend.responses import add_feedback
from retention.recommend.training import single_model_scorer
from retention.text import gettext

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
    terms: Terms = DEFAULT_TERMS,
    progress: Progress = silent,
) -> dict[str, list[RecommendedItem]]:
    """Recommend items to each customer, best first.

    Parameters
    ----------
    trained : TrainedRecommender or None
        None: own purchases and popularity only.
    lake : Lake
    customer_ids : sequence of str
        Unknown customers get popular items, of their segments if known.
    k : int
        Length of a list; shorter only if fewer items may be sold.
    as_of : datetime
        Events at or after it are not read.
    terms : Terms
        Rules for lists. With the policy ``repeat``, a customer without repeatable purchases gets
        popular items, and their reasons say so.
    progress : Progress

    Returns
    -------
    dict
        Customer id → list of `RecommendedItem`, in the given order.
    """
    customers = list(dict.fromkeys(customer_ids))
    context = ServingContext(trained, lake, as_of, terms)
    lists: dict[str, list[RecommendedItem]] = {}
    for start in range(0, len(customers), BATCH):
        batch = customers[start : start + BATCH]
        history = apply_weights(
            cached_histories(lake, as_of, batch),
            trained.event_weights if trained is not None else {},
        )
        if terms.feedback is not None:
            history = add_feedback(history, terms.feedback, as_of)
        with one_blas_thread():
            lists.update(_lists(context, history, batch, k))
        progress(
            start + len(batch), len(customers), gettext("Choosing what each customer would like")
        )
    return lists


class ServingContext:
    """Hold the model, catalogue and buyer counts."""

    def __init__(
        self,
        trained: TrainedRecommender | None,
        lake: "Lake",
        as_of: datetime,
        terms: Terms = DEFAULT_TERMS,
    ) -> None:
        self.trained, self.terms = trained, terms
        self.lake = lake
        self.as_of, self.at = as_of, days_at(as_of, shift_of(lake.zone, as_of))
        self.items = catalogue(lake)
        self.assortment = cached_assortment(self.items, terms.rules, terms.margin)
        self.recent_buyers = buyer_counts(lake, as_of, POPULAR_DAYS)
        self._all_buyers = partial(buyer_counts, lake, as_of)

    @cached_property
    def sources(self) -> CandidateSources:
        """The trained sources; without training only recent sales."""
        if self.trained is not None:
            return self.trained.sources
        return CandidateSources(_extended(_NO_STATS, self.items, self.recent_buyers), None, None)

    @cached_property
    def fillers(self) -> tuple[Filler, ...]:
        """Items that fill up lists.

        Recently popular ones, then ever popular ones, then the whole catalogue. Each is an item, a
        source and a reason.
        """
        popular = (
            (item_id, "popular", popularity_reason(count, days))
            for counts, days in ((self.recent_buyers, POPULAR_DAYS), (self._all_buyers(), None))
            for item_id, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        )
        reason = catalogue_reason()
        rest = ((item_id, "catalogue", reason) for item_id in self.items.titles)
        return tuple(
            filler for filler in (*popular, *rest) if filler[0] not in self.assortment.barred
        )


_NO_STATS = ItemStats(
    np.empty(0, dtype=object),
    np.empty((0, len(FACTS)), dtype=np.float32),
    {name: np.empty(0, dtype=np.int32) for name in ("category", "type", "brand")},
)


def _extended(stats: ItemStats, items: Catalogue, counts: dict[str, int]) -> ItemStats:
    """Append items with recent buyers and price.

    In order of id.
    """
    ids = np.array(sorted(counts), dtype=object)
    facts = np.full((len(ids), len(FACTS)), np.nan, dtype=np.float32)
    facts[:, FACTS.index("buyers")] = facts[:, FACTS.index("buyers_28")] = [
        counts[item] for item in ids
    ]
    facts[:, FACTS.index("price")] = [items.prices.get(item, np.nan) for item in ids]
    return stats.extended(ids, facts)


def _facts(context: ServingContext, stats: ItemStats, column: np.ndarray) -> ItemFacts:
    """Return the facts of known and appended items.

    In order of position.
    """
    known_items = context.sources.item_stats.items
    end = int(np.searchsorted(column, len(known_items)))
    known = context.assortment.cached_facts(known_items).select(column[:end])
    return (
        known.concat(context.assortment.facts(stats.ids(column[end:])))
        if end < len(column)
        else known
    )


def _score_batch(context: ServingContext, history: History, batch: list[str]) -> ScoredItems:
    known = set(history.customers)
    history = replace(
        history,
        customers=np.r_[
            history.customers,
            np.array([customer for customer in batch if customer not in known], dtype=object),
        ],
    )  # customers without a history come last
    stats = context.sources.item_stats
    place = positions(stats.items, history.items)
    unknown = np.flatnonzero(place < 0)
    recent = {item: context.recent_buyers.get(item, 0) for item in history.items[unknown]}
    extended = _extended(stats, context.items, recent)
    place[unknown] = len(stats.items) + np.arange(len(unknown))
    interactions = Interactions(extended, history, pairs(history, context.at), context.at, place)
    snapshot = Snapshot(context.sources, interactions)
    rows = np.arange(len(history.customers))
    policy = context.terms.rules.policy
    model_scores = ModelScores(context.sources, interactions.liked)
    row, column, value = _scores(context, snapshot, model_scores, rows)
    is_kept = value > 0
    if policy != "both":
        is_kept &= (snapshot.bought.toarray()[row, column] > 0) == (policy == "repeat")
    cold = _cold_start_scores(context, interactions)
    is_kept &= ~np.isin(row, cold.rows)
    cold_scores = cold.scores.tocoo()
    row, column, value = (
        np.r_[line[is_kept], cold_line]
        for line, cold_line in (
            (row, cold.rows[cold_scores.row]),
            (column, cold_scores.col),
            (value, cold_scores.data),
        )
    )
    is_scored = np.zeros(extended.size, dtype=bool)  # few of all items
    is_scored[column] = True
    place = (np.cumsum(is_scored) - 1)[column]
    column = np.flatnonzero(is_scored)
    scores, facts = np.full((len(rows), len(column)), -np.inf), _facts(context, extended, column)
    scores[row, place] = value
    _exclude_disliked(interactions, scores, column)
    _exclude_refused(context, scores, facts, interactions.history.customers)
    return ScoredItems(snapshot, column, scores, facts, model_scores, cold)


def _cold_start_scores(context: ServingContext, interactions: Interactions) -> ColdStartScores:
    """Score items for customers without a history.

    There are no scores without training, for a single model or under the policy ``repeat``.
    """
    cold = context.trained.cold if context.trained is not None else None
    if cold is None or context.terms.rules.policy == "repeat":
        return NO_SCORES
    return score_newcomers(
        context.lake, context.as_of, interactions, cold, context.sources.item_stats.items
    )


def _scores(
    context: ServingContext, snapshot: Snapshot, model_scores: ModelScores, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score items by model, ranker or mixture.

    Returns customers, items and scores.
    """
    is_single = context.trained is not None and context.trained.alone
    ranker = (
        context.trained.ranker(context.terms.rules.policy) if context.trained is not None else None
    )
    if ranker is not None and not is_single:
        # The ranker only learned from customers with preferences; others get popular items.
        with_history = np.flatnonzero(np.diff(snapshot.interactions.liked.indptr)[rows] > 0)
        pairs = candidates(
            snapshot.sources,
            snapshot.interactions,
            rows[with_history],
            scores=model_scores.subset(with_history),
        )
        return with_history[pairs.row], pairs.column, expit(log_odds(ranker, pairs))
    dense = (
        single_model_scorer(context.lake, snapshot)(rows)
        if is_single
        else mixture_scorer(snapshot, lambda rows: model_scores.collaborative[rows])(rows)
    )
    row, column = np.nonzero(dense > 0)
    return row, column, dense[row, column].astype(float)


def _exclude_disliked(interactions: Interactions, scores: np.ndarray, column: np.ndarray) -> None:
    """Exclude returned and badly rated items."""
    disliked = np.flatnonzero(interactions.disliked)
    position = interactions.place[interactions.seen.item[disliked]]
    place = np.searchsorted(column, position)
    is_listed = place < len(column)
    is_listed[is_listed] = column[place[is_listed]] == position[is_listed]
    scores[interactions.seen.customer[disliked[is_listed]], place[is_listed]] = -np.inf


def _exclude_refused(
    context: ServingContext, scores: np.ndarray, facts: ItemFacts, customers: np.ndarray
) -> None:
    """Exclude refused items and their variants."""
    refused = context.terms.refused
    pairs = [
        (row, item) for row, customer in enumerate(customers) for item in refused.get(customer, ())
    ]
    if pairs:
        variant = facts.groups["variant"]
        refused_variants = context.assortment.facts(
            np.array([item for _, item in pairs], dtype=object)
        ).groups["variant"]
        is_refused = np.zeros(
            (len(scores), int(max(variant.max(initial=0), refused_variants.max())) + 1), dtype=bool
        )
        is_refused[[row for row, _ in pairs], refused_variants] = True
        scores[is_refused[:, variant]] = -np.inf


def _lists(
    context: ServingContext, history: History, batch: list[str], k: int
) -> dict[str, list[RecommendedItem]]:
    scored = _score_batch(context, history, batch)
    rules = context.terms.rules
    interactions, shares = scored.snapshot.interactions, None
    if rules.diversity:
        shares = _facts(
            context, interactions.item_stats, np.arange(interactions.item_stats.size)
        ).shares(interactions.liked)
    values = scored.scores * scored.facts.profit**rules.by_margin
    chosen = choose(
        values, scored.facts, context.assortment.caps, k, shares=shares, diversity=rules.diversity
    )
    explained = explain_lists(context.sources, context.items, context.recent_buyers, scored, chosen)
    rows = positions(interactions.history.customers, batch)
    return {
        customer: _fill(context, scored, int(row), explained[row], k)
        for customer, row in zip(batch, rows, strict=True)
    }


def _fill(
    context: ServingContext, scored: ScoredItems, row: int, chosen: list[RecommendedItem], k: int
) -> list[RecommendedItem]:
    """Fill a list up to ``k`` items.

    Empty only if nothing may be sold.
    """
    policy = context.terms.rules.policy
    if policy == "repeat" and chosen:
        return chosen
    interactions = scored.snapshot.interactions
    is_own = interactions.seen.customer == row
    is_bought = is_own & (interactions.seen.days > 0) if policy == "new" else np.zeros_like(is_own)
    skipped = {*interactions.history.items[interactions.seen.item[is_bought]]}
    refused = context.terms.refused.get(str(interactions.history.customers[row]), ())
    new_items = _new_items(context, scored, row, k) if policy != "repeat" else []
    first = chosen[: k - len(new_items)]
    added = list(_fillers(context, first, len(first) + len(new_items), skipped, refused, new_items))
    if added:  # chosen items fill the places that are still empty
        merged = merge_lists(context.assortment, [*first, *added], chosen[len(first) :], k, refused)
        chosen = [*(item for item in merged if item not in added), *added]
    if len(chosen) >= k:
        return chosen
    disliked = {*interactions.history.items[interactions.seen.item[is_own & interactions.disliked]]}
    return [
        *chosen,
        *_fillers(context, chosen, k, skipped, refused, context.fillers, last=disliked),
    ]


def _new_items(context: ServingContext, scored: ScoredItems, row: int, k: int) -> list[Filler]:
    """Choose new items to explore.

    They resemble items the customer likes.
    """
    cold = context.trained.cold if context.trained is not None else None
    count = int(context.terms.rules.explore * k)
    if cold is None or not count:
        return []
    column, value = row_entries(scored.snapshot.interactions.liked, row)
    liked = np.zeros(scored.snapshot.interactions.item_stats.size, dtype=value.dtype)
    liked[column] = value
    affinity = cold.known_to_new @ liked[: cold.similarity.shape[0]]
    fillers: list[Filler] = []
    for at in np.argsort(-affinity, kind="stable")[: 10 * count]:
        item_id = str(cold.new_items[at])
        if len(fillers) < count and affinity[at] > 0 and item_id not in context.assortment.barred:
            neighbours, alike = row_entries(cold.known_to_new, at)
            nearest = str(
                context.sources.item_stats.items[
                    neighbours[int(np.argmax(alike * liked[neighbours]))]
                ]
            )
            fillers.append(
                (item_id, "new_item", new_item_reason(context.items.readable_title(nearest)))
            )
    return fillers


def _fillers(
    context: ServingContext,
    chosen: list[RecommendedItem],
    k: int,
    skipped: set[str],
    refused: Collection[str],
    fillers: Sequence[Filler],
    last: Collection[str] = (),
) -> Iterator[RecommendedItem]:
    """Yield items that fill up a list.

    First under all caps, then without the soft ones. Items in ``last`` come last.
    """
    caps, counts = context.assortment.caps, GroupCounts(context.assortment, refused)
    for item in chosen:
        counts.add(item.item_id)
    missing = k - len(chosen)
    hard_caps = {name: cap for name, cap in caps.items() if name not in SOFT_CAPS}
    for active_caps, is_last in product((caps, hard_caps), (False, True) if last else (False,)):
        for item_id, source, reason in fillers if missing else ():
            if (
                (item_id in last) is not is_last
                or item_id in skipped
                or counts.is_full(item_id, active_caps)
            ):
                continue
            counts.add(item_id)
            missing -= 1
            yield RecommendedItem(
                item_id, context.items.readable_title(item_id), 0.0, source, reason
            )
            if not missing:
                return


UNTRAINED = "none"  # version of lists without a model


@dataclass(frozen=True, slots=True)
class ActiveRecommender:
    """Hold the recommender in use and its rules.

    ``trained`` is None before the first training.
    """

    trained: TrainedRecommender | None
    row: ModelVersion | None
    terms: Terms

    @property
    def version(self) -> str:
        """Version stored and shown with the lists."""
        return self.row.version if self.row is not None else UNTRAINED

    def lists(
        self,
        lake: "Lake",
        customer_ids: Sequence[str],
        *,
        k: int,
        as_of: datetime,
        policy: ListPolicy | None = None,
        progress: Progress = silent,
    ) -> dict[str, list[RecommendedItem]]:
        """Recommend items as `recommend` does.

        Parameters
        ----------
        lake : Lake
        customer_ids : sequence of str
        k : int
        as_of : datetime
        policy : str, optional
            Replaces the shop's own policy.
        progress : Progress

        Returns
        -------
        dict
        """
        terms = self.terms
        if policy is not None:
            terms = replace(terms, rules=terms.rules.model_copy(update={"policy": policy}))
        return recommend(
            self.trained, lake, customer_ids, k=k, as_of=as_of, terms=terms, progress=progress
        )

    def merger(self, lake: "Lake") -> Callable[[str, Sequence[Any], Sequence[Any], int], list[Any]]:
        """Return a function that merges two lists.

        The first holds an offer's own items, the second the customer's list. It takes the customer,
        the offer's items, the list and the length.
        """
        assortment = cached_assortment(catalogue(lake), self.terms.rules, self.terms.margin)
        refused = self.terms.refused
        return lambda customer, first, rest, k: merge_lists(
            assortment, first, rest, k, refused.get(customer, ())
        )
