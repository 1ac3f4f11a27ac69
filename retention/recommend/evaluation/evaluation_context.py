"""Rank items at a moment and compare with purchases."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.sparse import csr_matrix

from retention.errors import BadInput
from retention.progress import Progress, part, silent
from retention.recommend.candidates import Candidates, CandidateSources, ModelScores, candidates
from retention.recommend.catalogue import Catalogue
from retention.recommend.evaluation.ranking_metrics import RankingMetrics, ranking_metrics
from retention.recommend.history import History, pairs
from retention.recommend.item_stats import compute_item_stats
from retention.recommend.matrices import (
    in_rows,
    one_blas_thread,
    ones_at,
    positions,
    select_rows,
    top_k,
)
from retention.recommend.models import DEEP, MODELS, Als, default_model
from retention.recommend.models.neighbours import UserKnn
from retention.recommend.models.neural import require_torch
from retention.recommend.ranking.features import NAMES, Interactions
from retention.recommend.ranking.ranker import MIXTURE_HALF_LIFE, POPULAR, Ranker, mixture_scores
from retention.text import gettext

AUTO = ("auto", "blend")  # several sources, ordered by a ranker
BATCH = 256
K = 10
# In log-odds per logarithm of buyers. On Complete Journey: coverage +0.016, NDCG −0.0012.
POPULARITY_PENALTY = 0.06
MIN_CUSTOMERS, MIN_ITEMS = 20, 10  # below, collaborative models learn nothing
BOTH, NEW = POLICIES = ("both", "new")  # "new" leaves out what a customer bought before
RankingKey = tuple[str, str]  # name of the scorer, policy
Scorer = Callable[[np.ndarray], np.ndarray]  # customers → (customers × items); −∞ is excluded


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Hold learned sources and customers at a moment."""

    sources: CandidateSources
    interactions: Interactions

    @property
    def size(self) -> tuple[int, int]:
        """Number of customers and items."""
        return len(self.interactions.history.customers), len(self.sources.item_stats.items)


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Hold the options of a training."""

    horizon_days: int
    seed: int
    model: str
    min_buyers: int
    items: Catalogue


def learn_snapshot(
    history: History, at: float, options: TrainingOptions, progress: Progress = silent
) -> Snapshot:
    """Learn the first-stage models from a history. They are None in a shop too small for them.

    `history`: events before ``at`` only.
    """
    what = gettext("Learning which items go together")
    interactions = build_interactions(history, at, options)
    liked, seed = interactions.liked, options.seed
    progress(1, 4, what)
    fitted, neighbours = None, None
    if (np.diff(liked.indptr) > 0).sum() >= MIN_CUSTOMERS and liked.shape[1] >= MIN_ITEMS:
        model = default_model(*liked.shape)
        fitted = model.fit(liked, seed=seed, progress=part(progress, 1, 4, span=2))
        neighbours = UserKnn().fit(liked, seed=seed)
    progress(4, 4, what)
    return Snapshot(CandidateSources(interactions.item_stats, fitted, neighbours), interactions)


def build_interactions(history: History, at: float, options: TrainingOptions) -> Interactions:
    """Build the interactions of all customers at a moment."""
    totals, day = pairs(history, at), int(np.ceil(at))
    stats = compute_item_stats(history, totals, day, options.items, options.min_buyers)
    return Interactions(stats, history, totals, at, positions(stats.items, history.items))


def validate_model(model: str) -> str:
    """Return the name of a known model."""
    if model not in AUTO and model not in MODELS:
        text = gettext("There is no recommendation model {model!r}; choose {blends}, {models}.")
        raise BadInput(text.format(model=model, blends=", ".join(AUTO), models=", ".join(MODELS)))
    if model in DEEP:
        require_torch(model)
    return model


def ground_truth(snapshot: Snapshot, history: History, start: int, end: int) -> csr_matrix:
    """Mark the purchases in a window.

    Only customers with an earlier history count.

    `start`, `end`: window ``[start, end)`` in days since 1970.
    """
    customer, item = history.between(start, end)
    row = positions(snapshot.interactions.history.customers, history.customers)[customer]
    column = positions(snapshot.sources.item_stats.items, history.items)[item]
    purchases = ones_at(row, column, snapshot.size, float)
    has_history = np.bincount(snapshot.interactions.seen.customer, minlength=snapshot.size[0]) > 0
    purchases = csr_matrix(purchases.multiply(has_history[:, None].astype(float)))
    purchases.eliminate_zeros()
    return purchases


def first_purchases(snapshot: Snapshot, purchases: csr_matrix) -> csr_matrix:
    """Keep purchases of items never bought before."""
    unseen = csr_matrix(purchases - purchases.multiply(snapshot.interactions.bought))
    unseen.eliminate_zeros()
    return unseen


def rank_items(
    snapshot: Snapshot,
    rows: np.ndarray,
    scorers: Mapping[RankingKey, Scorer],
    *,
    k: int = K,
    progress: Progress = silent,
) -> dict[RankingKey, list[np.ndarray]]:
    """Rank the best items by several scorers.

    `scorers`: (name, policy) → scorer. A scorer used under both policies runs once. The policy
    ``new`` leaves out items the customer ever bought.
    """
    lists: dict[RankingKey, list[np.ndarray]] = {key: [] for key in scorers}
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        is_bought = snapshot.interactions.bought[batch].toarray() > 0
        scores: dict[int, np.ndarray] = {}
        for key, scorer in scorers.items():
            if id(scorer) not in scores:
                with one_blas_thread():
                    scores[id(scorer)] = scorer(batch)
            values = scores[id(scorer)]
            values = np.where(is_bought, -np.inf, values) if key[1] == NEW else values
            lists[key].extend(top_k(row, k) for row in values)
        progress(start + len(batch), len(rows), gettext("Ranking"))
    return lists


def measure_scorers(
    snapshot: Snapshot,
    rows: np.ndarray,
    scorers: Mapping[RankingKey, Scorer],
    purchases: csr_matrix,
    progress: Progress = silent,
) -> dict[RankingKey, RankingMetrics]:
    """Rank by several scorers and compare with purchases; see `rank_items`."""
    bought = {
        BOTH: purchased_items(purchases, rows),
        NEW: purchased_items(first_purchases(snapshot, purchases), rows),
    }
    return {
        key: ranking_metrics(ranked, bought[key[1]], k=K, items=snapshot.size[1])
        for key, ranked in rank_items(snapshot, rows, scorers, progress=progress).items()
    }


def purchased_items(purchases: csr_matrix, rows: np.ndarray) -> list[np.ndarray]:
    """Return the positions of each customer's purchases."""
    return [purchases.indices[purchases.indptr[row] : purchases.indptr[row + 1]] for row in rows]


def popularity_baseline(snapshot: Snapshot) -> Scorer:
    """Build the baseline of the recent bestsellers. It counts the buyers of the last 28 days."""
    buyers = snapshot.sources.item_stats.column("buyers_28")
    return lambda rows: np.broadcast_to(buyers, (len(rows), len(buyers)))


def repeat_baseline(snapshot: Snapshot) -> Scorer:
    """Build the baseline of own decayed purchases."""
    faded, bought = _faded(snapshot), snapshot.interactions.bought

    def score(rows: np.ndarray) -> np.ndarray:
        values = faded[rows].toarray()
        return np.where((bought[rows].toarray() > 0) & (values > 0), values, -np.inf)

    return score


def als_baseline(snapshot: Snapshot, seed: int) -> Scorer:
    """Build the ALS baseline."""
    fitted, liked = snapshot.sources.model, snapshot.interactions.liked
    model = fitted if isinstance(fitted, Als) else Als().fit(liked, seed=seed)
    return lambda rows: model.scores(select_rows(liked, rows))


def mixture_scorer(snapshot: Snapshot, others: Scorer | None = None) -> Scorer:
    """Add up own purchases and the collaborative model.

    It ranks in shops with too little data for a ranker.

    `others`: scores of the collaborative model, if they are known already.
    """
    faded, liked = _faded(snapshot), snapshot.interactions.liked
    total = float(snapshot.sources.item_stats.column("buyers_28").sum())
    share = snapshot.interactions.item_stats.column("buyers_28") / max(total, 1.0)

    def score_others(rows: np.ndarray) -> np.ndarray:
        return ModelScores(snapshot.sources, select_rows(liked, rows)).collaborative

    def score(rows: np.ndarray) -> np.ndarray:
        own, known = faded[rows].toarray(), (others or score_others)(rows)
        padded = np.pad(known, ((0, 0), (0, own.shape[1] - known.shape[1])))
        return mixture_scores(own, padded, share)

    return score


BASELINES = {"popular": popularity_baseline, "buy_it_again": repeat_baseline}
FirstStage = Callable[[np.ndarray], Candidates]


def first_stage(snapshot: Snapshot, *, batches: int | None = None) -> FirstStage:
    """Build a cached first stage. It serves comparisons of rankers on the same customers."""
    cache: dict[bytes, Candidates] = {}

    def stage(rows: np.ndarray) -> Candidates:
        key = rows.tobytes()
        if key not in cache:
            if batches is not None and len(cache) >= batches:
                cache.clear()
            cache[key] = candidates(snapshot.sources, snapshot.interactions, rows)
        return cache[key]

    return stage


def two_stage_scorer(snapshot: Snapshot, ranker: Ranker, stage: FirstStage) -> Scorer:
    """Build the scorer of candidates and ranker."""

    def score(rows: np.ndarray) -> np.ndarray:
        pairs = stage(rows)
        return _dense(snapshot, rows, pairs, log_odds(ranker, pairs))

    return score


def _dense(
    snapshot: Snapshot, rows: np.ndarray, pairs: Candidates, scores: np.ndarray
) -> np.ndarray:
    dense = np.full((len(rows), snapshot.interactions.item_stats.size), -np.inf)
    dense[pairs.row, pairs.column] = scores
    return dense


def two_stage_scorers(snapshot: Snapshot, ranker: Ranker, stage: FirstStage) -> dict[str, Scorer]:
    """Build a scorer for each kind of a ranker.

    They share the trees and nets of the last customers, so ask all of them before the next ones.
    """
    last: dict[bytes, dict[str, np.ndarray]] = {}

    def score(kind: str, rows: np.ndarray) -> np.ndarray:
        pairs = stage(rows)
        if (key := rows.tobytes()) not in last:
            last.clear()
            last[key] = ranker.scores_by_kind(pairs.view)
        return _dense(snapshot, rows, pairs, _penalised(last[key][kind], kind, pairs))

    return {kind: partial(score, kind) for kind in ranker.kinds}


def log_odds(ranker: Ranker, pairs: Candidates) -> np.ndarray:
    """Score candidates in log-odds. Popular own items get a penalty."""
    return _penalised(ranker.scores(pairs.view), ranker.kind, pairs)


def _penalised(scores: np.ndarray, kind: str, pairs: Candidates) -> np.ndarray:
    if kind == POPULAR:
        return scores
    popularity = pairs.own * np.log1p(np.nan_to_num(pairs.view[:, NAMES.index("item_buyers_28")]))
    return scores - POPULARITY_PENALTY * popularity


def _faded(snapshot: Snapshot) -> csr_matrix:
    interactions = snapshot.interactions
    totals, column = interactions.seen, interactions.place[interactions.seen.item]
    is_known = column >= 0
    values = totals.faded[MIXTURE_HALF_LIFE][is_known].astype(np.float32)
    return in_rows(totals.customer[is_known], column[is_known], values, interactions.size)
