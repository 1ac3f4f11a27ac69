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
from retention.recommend.cold_start import NO_SCORES, score_newcomers
from retention.recommend.evaluation.evaluation_context import Snapshot, log_odds, mixture_scorer
from retention.recommend.event_weights import apply_weights
from retention.recommend.history import History, days_at, pairs, shift_of
from retention.recommend.history_cache import buyer_counts, cached_histories, select_customers
from retention.recommend.item_stats import FACTS, GROUPS, ItemStats
from retention.recommend.matrices import find_sorted, one_blas_thread, positions, row_entries
from retention.recommend.ranking.features import Interactions
from retention.recommend.reasons import (
    POPULAR_DAYS,
    RecommendedItem,
    ScoredItems,
    explain_lists,
    popularity_reason,
)
from retention.recommend.reranking import (
    DEFAULT_TERMS,
    Calibration,
    GroupCounts,
    ItemFacts,
    Terms,
    cached_assortment,
    choose,
    hard,
    merge_lists,
)
from retention.recommend.responses import add_feedback
from retention.recommend.training import single_model_scorer
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

BATCH = 256
READ = 32 * BATCH  # customers whose histories are read at once; each time reads all events
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

    `terms`: rules for lists. With the policy ``repeat``, a customer without repeatable purchases
    gets popular items, and their reasons say so.
    Returns: customer id → list of `RecommendedItem`, in the given order.
    """
    customers = list(dict.fromkeys(customer_ids))
    context = ServingContext(trained, lake, as_of, terms)
    weights = trained.event_weights if trained is not None else {}
    what = gettext("Choosing what each customer would like")
    lists: dict[str, list[RecommendedItem]] = {}
    for start in range(0, len(customers), BATCH):
        batch = customers[start : start + BATCH]
        if start % READ == 0:
            histories = cached_histories(lake, as_of, customers[start : start + READ])
        own = histories if len(customers) <= BATCH else select_customers(histories, batch)
        history = apply_weights(own, weights)
        if terms.feedback is not None:
            history = add_feedback(history, terms.feedback, as_of)
        with one_blas_thread():
            lists |= _lists(context, history, batch, k)
        progress(start + len(batch), len(customers), what)
    return lists


class ServingContext:
    """Hold the model, catalogue and buyer counts."""

    def __init__(
        self, trained: TrainedRecommender | None, lake: "Lake", as_of: datetime, terms: Terms
    ) -> None:
        self.trained, self.terms, self.lake = trained, terms, lake
        self.cold = trained.cold if trained is not None else None
        self.as_of, self.at = as_of, days_at(as_of, shift_of(lake.zone, as_of))
        self.items = catalogue(lake)
        self.assortment = cached_assortment(self.items, terms.rules, terms.margin)
        self.recent_buyers = buyer_counts(lake, as_of, POPULAR_DAYS)

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
        all_buyers, barred = buyer_counts(self.lake, self.as_of), self.assortment.barred
        popular = (
            (item_id, "popular", popularity_reason(count, days))
            for counts, days in ((self.recent_buyers, POPULAR_DAYS), (all_buyers, None))
            for item_id, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        )
        reason = gettext("in the catalogue; nobody has bought it yet")
        rest = ((item_id, "catalogue", reason) for item_id in self.items.titles)
        return tuple(filler for filler in (*popular, *rest) if filler[0] not in barred)


_NO_STATS = ItemStats(
    np.empty(0, dtype=object),
    np.empty((0, len(FACTS)), dtype=np.float32),
    {name: np.empty(0, dtype=np.int32) for name in GROUPS},
)


def _extended(stats: ItemStats, items: Catalogue, counts: dict[str, int]) -> ItemStats:
    """Append items with recent buyers and price. In order of id."""
    ids = np.array(sorted(counts), dtype=object)
    facts = np.full((len(ids), len(FACTS)), np.nan, dtype=np.float32)
    recent = [counts[item] for item in ids]
    facts[:, FACTS.index("buyers")] = facts[:, FACTS.index("buyers_28")] = recent
    facts[:, FACTS.index("price")] = [items.prices.get(item, np.nan) for item in ids]
    return stats.extended(ids, facts)


def _facts(context: ServingContext, stats: ItemStats, column: np.ndarray) -> ItemFacts:
    """Return the facts of known and appended items. In order of position."""
    known_items = context.sources.item_stats.items
    end = int(np.searchsorted(column, len(known_items)))
    known = context.assortment.cached_facts(known_items).select(column[:end])
    appended = column[end:]
    return known.concat(context.assortment.facts(stats.items[appended])) if len(appended) else known


def _score_batch(context: ServingContext, history: History, batch: list[str]) -> ScoredItems:
    known = set(history.customers)
    unknown = np.array([customer for customer in batch if customer not in known], dtype=object)
    # customers without a history come last
    history = replace(history, customers=np.r_[history.customers, unknown])
    stats = context.sources.item_stats
    place = positions(stats.items, history.items)
    appended = np.flatnonzero(place < 0)
    recent = {item: context.recent_buyers.get(item, 0) for item in history.items[appended]}
    extended = _extended(stats, context.items, recent)
    place[appended] = len(stats.items) + np.arange(len(appended))
    interactions = Interactions(extended, history, pairs(history, context.at), context.at, place)
    snapshot = Snapshot(context.sources, interactions)
    rows = np.arange(len(history.customers))
    policy = context.terms.rules.policy
    model_scores = ModelScores(context.sources, interactions.liked)
    row, column, value = _scores(context, snapshot, model_scores, rows)
    is_kept = value > 0
    if policy != "both":
        is_kept &= (interactions.bought.toarray()[row, column] > 0) == (policy == "repeat")
    # There are no such scores without training, for a single model or under the policy `repeat`.
    cold = NO_SCORES
    if context.cold is not None and policy != "repeat":
        cold = score_newcomers(context.lake, context.as_of, interactions, context.cold, stats.items)
    is_kept &= ~np.isin(row, cold.rows)
    newcomers = cold.scores.tocoo()
    row = np.r_[row[is_kept], cold.rows[newcomers.row]]
    column = np.r_[column[is_kept], newcomers.col]
    value = np.r_[value[is_kept], newcomers.data]
    is_scored = np.zeros(extended.size, dtype=bool)  # few of all items
    is_scored[column] = True
    place = (np.cumsum(is_scored) - 1)[column]
    column = np.flatnonzero(is_scored)
    scores, facts = np.full((len(rows), len(column)), -np.inf), _facts(context, extended, column)
    scores[row, place] = value
    _exclude_disliked(interactions, scores, column)
    _exclude_refused(context, scores, facts, interactions.history.customers)
    return ScoredItems(snapshot, column, scores, facts, model_scores, cold)


def _scores(
    context: ServingContext, snapshot: Snapshot, model_scores: ModelScores, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score items by model, ranker or mixture. Returns customers, items and scores."""
    is_single = context.trained is not None and context.trained.alone
    policy, interactions = context.terms.rules.policy, snapshot.interactions
    ranker = context.trained.ranker(policy) if context.trained is not None else None
    if ranker is not None and not is_single:
        # The ranker only learned from customers with preferences; others get popular items.
        with_history = np.flatnonzero(np.diff(interactions.liked.indptr)[rows] > 0)
        scores = model_scores.subset(with_history)
        pairs = candidates(snapshot.sources, interactions, rows[with_history], scores)
        return with_history[pairs.row], pairs.column, expit(log_odds(ranker, pairs))
    if is_single:
        dense = single_model_scorer(context.lake, snapshot)(rows)
    else:
        dense = mixture_scorer(snapshot, lambda rows: model_scores.collaborative[rows])(rows)
    row, column = np.nonzero(dense > 0)
    return row, column, dense[row, column].astype(float)


def _exclude_disliked(interactions: Interactions, scores: np.ndarray, column: np.ndarray) -> None:
    """Exclude returned and badly rated items."""
    disliked = np.flatnonzero(interactions.disliked)
    position = interactions.place[interactions.seen.item[disliked]]
    place, is_listed = find_sorted(column, position)
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
        rows, items = zip(*pairs, strict=True)
        variant = facts.groups["variant"]
        refused_variants = context.assortment.facts(np.array(items, dtype=object)).groups["variant"]
        variants = int(max(variant.max(initial=0), refused_variants.max())) + 1
        is_refused = np.zeros((len(scores), variants), dtype=bool)
        is_refused[list(rows), refused_variants] = True
        scores[is_refused[:, variant]] = -np.inf


def _lists(
    context: ServingContext, history: History, batch: list[str], k: int
) -> dict[str, list[RecommendedItem]]:
    scored = _score_batch(context, history, batch)
    rules = context.terms.rules
    interactions, calibration = scored.snapshot.interactions, None
    if rules.diversity:
        stats = interactions.item_stats
        shares = _facts(context, stats, np.arange(stats.size)).shares(interactions.liked)
        calibration = Calibration(shares, rules.diversity)
    values = scored.scores * scored.facts.profit**rules.by_margin
    chosen = choose(values, scored.facts, context.assortment.caps, k, calibration)
    explained = explain_lists(context.sources, context.items, context.recent_buyers, scored, chosen)
    rows = positions(interactions.history.customers, batch)
    return {
        customer: _fill(context, scored, int(row), explained[row], k)
        for customer, row in zip(batch, rows, strict=True)
    }


def _fill(
    context: ServingContext, scored: ScoredItems, row: int, chosen: list[RecommendedItem], k: int
) -> list[RecommendedItem]:
    """Fill a list up to ``k`` items. Empty only if nothing may be sold."""
    policy = context.terms.rules.policy
    if policy == "repeat" and chosen:
        return chosen
    interactions = scored.snapshot.interactions
    seen, history = interactions.seen, interactions.history
    lines = np.flatnonzero(seen.customer == row)
    disliked = history.items[seen.item[lines[interactions.disliked[lines]]]]
    bought = lines[seen.days[lines] > 0] if policy == "new" else lines[:0]
    skipped = {*history.items[seen.item[bought]]}
    refused = context.terms.refused.get(str(history.customers[row]), ())
    fill = partial(_fillers, context, skipped, refused)
    new_items = _new_items(context, scored, row, k) if policy != "repeat" else []
    first = chosen[: k - len(new_items)]
    added = list(fill(first, len(first) + len(new_items), new_items))
    if added:  # chosen items fill the places that are still empty
        merged = merge_lists(context.assortment, [*first, *added], chosen[len(first) :], k, refused)
        chosen = [*(item for item in merged if item not in added), *added]
    if len(chosen) >= k:
        return chosen
    return [*chosen, *fill(chosen, k, context.fillers, {*disliked})]


def _new_items(context: ServingContext, scored: ScoredItems, row: int, k: int) -> list[Filler]:
    """Choose new items to explore. They resemble items the customer likes."""
    cold, count = context.cold, int(context.terms.rules.explore * k)
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
            place = int(np.argmax(alike * liked[neighbours]))
            nearest = neighbours[place]
            title = context.items.readable_title(str(context.sources.item_stats.items[nearest]))
            source, reason = "new_item", gettext("new, and much like {title}")
            if cold.look_of(at, nearest) > alike[place] / 2:
                source, reason = "looks_like", gettext("new, looks like {title}")
            fillers.append((item_id, source, reason.format(title=title)))
    return fillers


def _fillers(
    context: ServingContext,
    skipped: Collection[str],
    refused: Collection[str],
    chosen: Sequence[RecommendedItem],
    k: int,
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
    for active, is_last in product((caps, hard(caps)), (False, True) if last else (False,)):
        for item_id, source, reason in fillers if missing else ():
            if (item_id in last) is not is_last or item_id in skipped:
                continue
            if counts.is_full(item_id, active):
                continue
            counts.add(item_id)
            missing -= 1
            title = context.items.readable_title(item_id)
            yield RecommendedItem(item_id, title, 0.0, source, reason)
            if not missing:
                return


UNTRAINED = "none"  # version of lists without a model


@dataclass(frozen=True, slots=True)
class ActiveRecommender:
    """Hold the recommender in use and its rules. ``trained`` is None before the first training."""

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
        """Recommend items as `recommend` does."""
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
        terms, refused = self.terms, self.terms.refused
        assortment = cached_assortment(catalogue(lake), terms.rules, terms.margin)
        return lambda customer, first, rest, k: merge_lists(
            assortment, first, rest, k, refused.get(customer, ())
        )
