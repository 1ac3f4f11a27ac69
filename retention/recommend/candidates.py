"""Generate candidates from several sources, with scores.

``own`` (bought before), ``collaborative`` (EASE or ALS), ``neighbours`` (similar customers),
``favourite`` (bestsellers of their product types), ``popular`` and ``trending``. The ranker orders
their union.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.item_stats import MEASURES, ItemStats
from retention.recommend.matrices import first_columns, select_rows, top_k, values_at
from retention.recommend.models.base import Model
from retention.recommend.models.neighbours import UserKnn
from retention.recommend.ranking.features import LEARN_HALF_LIFE, Interactions, features

CANDIDATES_PER_SOURCE = {
    "own": 250,
    "collaborative": 100,
    "neighbours": 60,
    "favourite": 60,
    "popular": 40,
    "trending": 20,
}


@dataclass(frozen=True, slots=True)
class CandidateSources:
    """Hold item statistics and models of a cutoff.

    No customer ids. ``model`` and ``neighbours`` are None in shops too small to learn from others.
    """

    item_stats: ItemStats
    model: Model | None
    neighbours: UserKnn | None


class ModelScores:
    """Score all items for some histories once.

    The scores are dense (rows × known items), so pass one batch of customers at a time.
    """

    def __init__(self, sources: CandidateSources, histories: csr_matrix) -> None:
        self.sources = sources
        self.histories = first_columns(histories, len(sources.item_stats.items))

    @cached_property
    def collaborative(self) -> np.ndarray:
        """Scores of the collaborative model."""
        return self._scores(self.sources.model)

    @cached_property
    def neighbours(self) -> np.ndarray:
        """Scores of similar customers."""
        return self._scores(self.sources.neighbours)

    def subset(self, rows: np.ndarray) -> "ModelScores":
        """Select rows without scoring again."""
        if len(rows) == self.histories.shape[0]:
            return self
        subset = ModelScores(self.sources, select_rows(self.histories, rows))
        if len(rows):
            subset.collaborative = self.collaborative[rows]
            subset.neighbours = self.neighbours[rows]
        return subset

    def _scores(self, model: "Model | None") -> np.ndarray:
        if model is None:
            return np.zeros(self.histories.shape, dtype=np.float32)
        return model.scores(self.histories)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Hold sorted (row, item) pairs with their features.

    ``own`` is True for items the customer bought before. ``view`` holds the ranker's features of
    each pair.
    """

    row: np.ndarray
    column: np.ndarray
    own: np.ndarray
    view: np.ndarray


def candidates(
    models: CandidateSources,
    interactions: Interactions,
    rows: np.ndarray,
    scores: ModelScores | None = None,
) -> Candidates:
    """Generate candidates and their features.

    `rows`: customers of the history. Pass a few hundred at a time; scores are dense (rows × items).
    """
    scores = scores or ModelScores(models, select_rows(interactions.liked, rows))
    is_bought = interactions.bought[rows].toarray() > 0
    source_scores = {
        "collaborative": scores.collaborative,
        "neighbours": scores.neighbours,
        "favourite": _favourites(models.item_stats, interactions, rows),
    }
    is_chosen = np.zeros_like(is_bought)
    _mark_own(interactions, rows, is_chosen)
    is_new = ~is_bought[:, : models.item_stats.size]
    for name, values in source_scores.items():
        _mark(is_chosen, values, is_new, CANDIDATES_PER_SOURCE[name])
    stats = interactions.item_stats
    for name in MEASURES:
        count = CANDIDATES_PER_SOURCE[name]
        best = stats.top(name, 10 * count)  # enough unless a customer bought 90% of them
        _mark_for_all(is_chosen, is_bought, best, count)
    row, column = np.nonzero(is_chosen)
    pair_scores = {name: values_at(values, row, column) for name, values in source_scores.items()}
    pair_scores["collaborative_rank"] = _ranks(
        scores.collaborative, row, pair_scores["collaborative"], stats.size
    )
    view = features(interactions, rows[row], column, pair_scores)
    return Candidates(row, column, is_bought[row, column], view)


def _favourites(stats: ItemStats, interactions: Interactions, rows: np.ndarray) -> np.ndarray:
    """Score items by the customer's favourite types.

    The score is the customer's purchases of the type times the item's share in it.
    """
    habit = interactions.habits["type"]
    customer, type_ = np.divmod(habit.key, habit.size)
    row, inside = _rows_of(interactions, rows, customer)
    faded = np.zeros((len(rows), habit.size), dtype=np.float32)
    faded[row, type_[inside]] = np.log1p(habit.faded[inside])
    return faded.take(stats.groups["type"], axis=1) * stats.shares["type"]


def _mark_own(interactions: Interactions, rows: np.ndarray, is_chosen: np.ndarray) -> None:
    """Mark the customer's strongest own items.

    Own items are bought, in the cart or viewed, unless returns or bad ratings outweigh that.
    """
    column = interactions.place[interactions.seen.item]
    own = np.flatnonzero((column >= 0) & (interactions.seen.faded[LEARN_HALF_LIFE] > 0))
    row, inside = _rows_of(interactions, rows, interactions.seen.customer[own])
    column, values = column[own[inside]], interactions.seen.faded[90][own[inside]].clip(min=1e-9)
    order = np.lexsort((column, -values, row))
    row, column = row[order], column[order]
    is_best = np.arange(len(row)) - np.searchsorted(row, row) < CANDIDATES_PER_SOURCE["own"]
    is_chosen[row[is_best], column[is_best]] = True


def _rows_of(
    interactions: Interactions, rows: np.ndarray, customer: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and positions of known customers."""
    row_of = np.full(len(interactions.history.customers), -1)
    row_of[rows] = np.arange(len(rows))
    inside = np.flatnonzero(row_of[customer] >= 0)
    return row_of[customer[inside]], inside


def _mark_for_all(
    is_chosen: np.ndarray, is_bought: np.ndarray, order: np.ndarray, count: int
) -> None:
    """Mark the first unbought items of an order."""
    is_new = ~is_bought[:, order]
    row, at = np.nonzero(is_new & (np.cumsum(is_new, axis=1) <= count))
    is_chosen[row, order[at]] = True


def _mark(is_chosen: np.ndarray, scores: np.ndarray, is_allowed: np.ndarray, count: int) -> None:
    """Mark each row's best allowed items. Only scores above 0 count."""
    for row, (line, allowed) in enumerate(zip(scores, is_allowed, strict=True)):
        at = np.flatnonzero(allowed & (line > 0))
        is_chosen[row, at[top_k(line[at], count)] if len(at) > count else at] = True


def _ranks(scores: np.ndarray, row: np.ndarray, values: np.ndarray, items: int) -> np.ndarray:
    """Rank each pair's score within its row.

    Ranks start at 0. Pairs are in order of row. Appended items count as score 0.
    """
    ranks = np.empty(len(row), dtype=np.float32)
    begins = np.searchsorted(row, np.arange(scores.shape[0] + 1))
    for number, line in enumerate(np.sort(scores, axis=1)):
        inside = slice(begins[number], begins[number + 1])
        ranks[inside] = len(line) - np.searchsorted(line, values[inside], side="right")
    return ranks + (values < 0) * np.float32(items - scores.shape[1])
