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
from retention.recommend.history import History, pairs
from retention.recommend.item_stats import compute_item_stats
from retention.recommend.matrices import in_rows, one_blas_thread, positions, select_rows, top_k
from retention.recommend.models import DEEP, MODELS, Als, Collaborative, default_model
from retention.recommend.models.neighbours import UserKnn
from retention.recommend.models.neural import require_torch
from retention.recommend.ranking.features import NAMES, Interactions
from retention.recommend.ranking.ranker import MIXTURE_HALF_LIFE, POPULAR, Ranker, mixture_scores
from retention.recommend.ranking_metrics import RankingMetrics, ranking_metrics
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
    def bought(self) -> csr_matrix:
        """Ones where a customer ever bought an item."""
        return self.interactions.bought

    @property
    def size(self) -> tuple[int, int]:
        """Number of customers and items."""
        return len(self.interactions.history.customers), len(self.sources.item_stats.items)


def learn_snapshot(
    history: History,
    at: float,
    items: Catalogue,
    *,
    min_buyers: int,
    model: str = "auto",
    seed: int = 0,
    progress: Progress = silent,
) -> Snapshot:
    """Learn the first-stage models from a history.

    Parameters
    ----------
    history : History
        Events before ``at`` only.
    at : float
        Days since 1970.
    items : Catalogue
    min_buyers : int
        Fewest buyers of an item.
    model : str
        One of `AUTO`, or a collaborative model of `MODELS`.
    seed : int
    progress : Progress

    Returns
    -------
    Snapshot
    """
    interactions = build_interactions(history, at, items, min_buyers)
    progress(1, 4, gettext("Learning which items go together"))
    fitted = _collaborative(interactions.liked, model, seed, part(progress, 1, 4, span=2))
    neighbours = UserKnn().fit(interactions.liked, seed=seed) if fitted is not None else None
    progress(4, 4, gettext("Learning which items go together"))
    return Snapshot(CandidateSources(interactions.item_stats, fitted, neighbours), interactions)


def build_interactions(
    history: History, at: float, items: Catalogue, min_buyers: int
) -> Interactions:
    """Build the interactions of all customers at a moment.

    Parameters
    ----------
    history : History
    at : float
        Days since 1970.
    items : Catalogue
    min_buyers : int
        Fewest buyers of an item.

    Returns
    -------
    Interactions
    """
    totals = pairs(history, at)
    stats = compute_item_stats(history, totals, int(np.ceil(at)), items, min_buyers)
    return Interactions(stats, history, totals, at, positions(stats.items, history.items))


def _collaborative(
    liked: csr_matrix, model: str, seed: int, progress: Progress
) -> Collaborative | None:
    """Fit the collaborative model.

    None in a shop too small for one.
    """
    customers, items = liked.shape
    active = int((np.diff(liked.indptr) > 0).sum())
    if active < MIN_CUSTOMERS or items < MIN_ITEMS:
        return None
    chosen = default_model(customers, items) if model in AUTO else MODELS[model]()
    assert isinstance(chosen, Collaborative)  # single models are fitted in `training`
    return chosen.fit(liked, seed=seed, progress=progress)


def validate_model(model: str) -> str:
    """Return the name of a known model.

    Raises
    ------
    BadInput
        If the model is unknown, or needs a package that is missing.
    """
    if model not in AUTO and model not in MODELS:
        raise BadInput(
            gettext(
                "There is no recommendation model {model!r}; choose {blends}, {models}."
            ).format(model=model, blends=", ".join(AUTO), models=", ".join(MODELS))
        )
    if model in DEEP:
        require_torch(model)
    return model


def ground_truth(snapshot: Snapshot, history: History, start: int, end: int) -> csr_matrix:
    """Mark the purchases in a window.

    Only customers with an earlier history count.

    Parameters
    ----------
    snapshot : Snapshot
    history : History
        May differ from the snapshot's, with the same or other ids.
    start, end : int
        Window ``[start, end)`` in days since 1970.

    Returns
    -------
    csr_matrix (customers × items)
    """
    customer, item = history.between(start, end)
    row = positions(snapshot.interactions.history.customers, history.customers)[customer]
    column = positions(snapshot.sources.item_stats.items, history.items)[item]
    is_known = (row >= 0) & (column >= 0)
    purchases = csr_matrix(
        (np.ones(int(is_known.sum())), (row[is_known], column[is_known])), shape=snapshot.size
    )
    has_history = np.bincount(snapshot.interactions.seen.customer, minlength=snapshot.size[0]) > 0
    purchases = csr_matrix(purchases.multiply(has_history[:, None].astype(float)))
    purchases.eliminate_zeros()
    return purchases


def first_purchases(snapshot: Snapshot, purchases: csr_matrix) -> csr_matrix:
    """Keep purchases of items never bought before.

    Parameters
    ----------
    snapshot : Snapshot
    purchases : csr_matrix (customers × items)
    """
    unseen = csr_matrix(purchases - purchases.multiply(snapshot.bought))
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

    Parameters
    ----------
    snapshot : Snapshot
    rows : ndarray of int
        Customers.
    scorers : mapping
        (name, policy) → scorer. A scorer used under both policies runs once. The policy ``new``
        leaves out items the customer ever bought.
    k : int
    progress : Progress

    Returns
    -------
    dict
        Ranked item positions of each customer, by (name, policy).
    """
    lists: dict[RankingKey, list[np.ndarray]] = {key: [] for key in scorers}
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        is_bought = snapshot.bought[batch].toarray() > 0
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


def evaluate_scorer(
    snapshot: Snapshot,
    purchases: csr_matrix,
    rows: np.ndarray,
    scorer: Scorer,
    *,
    progress: Progress = silent,
) -> RankingMetrics:
    """Rank and compare with purchases.

    Parameters
    ----------
    snapshot : Snapshot
    purchases : csr_matrix (customers × items)
        Ground truth.
    rows : ndarray of int
        Customers.
    scorer : Scorer
    progress : Progress

    Returns
    -------
    RankingMetrics
    """
    lists = rank_items(snapshot, rows, {("", BOTH): scorer}, progress=progress)["", BOTH]
    return ranking_metrics(lists, purchased_items(purchases, rows), k=K, items=snapshot.size[1])


def purchased_items(purchases: csr_matrix, rows: np.ndarray) -> list[np.ndarray]:
    """Return the positions of each customer's purchases.

    Parameters
    ----------
    purchases : csr_matrix (customers × items)
    rows : ndarray of int
    """
    return [purchases.indices[purchases.indptr[row] : purchases.indptr[row + 1]] for row in rows]


def popularity_baseline(snapshot: Snapshot) -> Scorer:
    """Build the baseline of the recent bestsellers.

    It counts the buyers of the last 28 days.
    """
    buyers = snapshot.sources.item_stats.column("buyers_28")
    return lambda rows: np.broadcast_to(buyers, (len(rows), len(buyers)))


def repeat_baseline(snapshot: Snapshot, half_life: int = 90) -> Scorer:
    """Build the baseline of own decayed purchases.

    Parameters
    ----------
    snapshot : Snapshot
    half_life : int
        Days.
    """
    faded = _faded(snapshot, half_life)

    def score(rows: np.ndarray) -> np.ndarray:
        values = faded[rows].toarray()
        return np.where((snapshot.bought[rows].toarray() > 0) & (values > 0), values, -np.inf)

    return score


def collaborative_scorer(snapshot: Snapshot) -> Scorer:
    """Build the scorer of the collaborative model alone."""
    return lambda rows: (
        ModelScores(snapshot.sources, select_rows(snapshot.interactions.liked, rows)).collaborative
    )


def als_baseline(snapshot: Snapshot, seed: int = 0) -> Scorer:
    """Build the ALS baseline.

    Parameters
    ----------
    snapshot : Snapshot
    seed : int
    """
    fitted, liked = snapshot.sources.model, snapshot.interactions.liked
    model = fitted if isinstance(fitted, Als) else Als().fit(liked, seed=seed)
    return lambda rows: model.scores(select_rows(liked, rows))


def mixture_scorer(snapshot: Snapshot, others: Scorer | None = None) -> Scorer:
    """Add up own purchases and the collaborative model.

    It ranks in shops with too little data for a ranker.

    Parameters
    ----------
    snapshot : Snapshot
    others : Scorer, optional
        Existing scores of the collaborative model.

    Returns
    -------
    Scorer
    """
    faded, score_others = (
        _faded(snapshot, MIXTURE_HALF_LIFE),
        others or collaborative_scorer(snapshot),
    )
    total = float(snapshot.sources.item_stats.column("buyers_28").sum())
    share = snapshot.interactions.item_stats.column("buyers_28") / max(total, 1.0)

    def score(rows: np.ndarray) -> np.ndarray:
        own, known = faded[rows].toarray(), score_others(rows)
        return mixture_scores(
            own, np.pad(known, ((0, 0), (0, own.shape[1] - known.shape[1]))), share
        )

    return score


FirstStage = Callable[[np.ndarray], Candidates]


def first_stage(snapshot: Snapshot, *, batches: int | None = None) -> FirstStage:
    """Build a cached first stage.

    It serves comparisons of rankers on the same customers.

    Parameters
    ----------
    snapshot : Snapshot
    batches : int, optional
        Batches to cache. Default: all, which suits a few hundred customers.

    Returns
    -------
    FirstStage
    """
    cache: dict[bytes, Candidates] = {}

    def stage(rows: np.ndarray) -> Candidates:
        key = rows.tobytes()
        if key not in cache:
            if batches is not None and len(cache) >= batches:
                cache.clear()
            cache[key] = candidates(snapshot.sources, snapshot.interactions, rows)
        return cache[key]

    return stage


def two_stage_scorer(snapshot: Snapshot, ranker: Ranker, stage: FirstStage | None = None) -> Scorer:
    """Build the scorer of candidates and ranker.

    Parameters
    ----------
    snapshot : Snapshot
    ranker : Ranker
    stage : FirstStage, optional

    Returns
    -------
    Scorer
    """

    def score(rows: np.ndarray) -> np.ndarray:
        pairs = (
            stage(rows)
            if stage is not None
            else candidates(snapshot.sources, snapshot.interactions, rows)
        )
        dense = np.full((len(rows), snapshot.interactions.item_stats.size), -np.inf)
        dense[pairs.row, pairs.column] = log_odds(ranker, pairs)
        return dense

    return score


def two_stage_scorers(snapshot: Snapshot, ranker: Ranker, stage: FirstStage) -> dict[str, Scorer]:
    """Build a scorer for each kind of a ranker.

    They share the trees and nets of the last customers, so ask all of them before the next ones.

    Parameters
    ----------
    snapshot : Snapshot
    ranker : Ranker
    stage : FirstStage

    Returns
    -------
    dict
        Kind → scorer.
    """
    last: dict[bytes, dict[str, np.ndarray]] = {}

    def score(kind: str, rows: np.ndarray) -> np.ndarray:
        pairs = stage(rows)
        if (key := rows.tobytes()) not in last:
            last.clear()
            last[key] = ranker.scores_by_kind(pairs.view)
        dense = np.full((len(rows), snapshot.interactions.item_stats.size), -np.inf)
        dense[pairs.row, pairs.column] = _penalised(last[key][kind], kind, pairs)
        return dense

    return {kind: partial(score, kind) for kind in ranker.kinds}


def log_odds(ranker: Ranker, pairs: Candidates) -> np.ndarray:
    """Score candidates in log-odds.

    Popular own items get a penalty.

    Parameters
    ----------
    ranker : Ranker
    pairs : Candidates
    """
    return _penalised(ranker.scores(pairs.view), ranker.kind, pairs)


def _penalised(scores: np.ndarray, kind: str, pairs: Candidates) -> np.ndarray:
    if kind == POPULAR:
        return scores
    popularity = pairs.own * np.log1p(np.nan_to_num(pairs.view[:, NAMES.index("item_buyers_28")]))
    return scores - POPULARITY_PENALTY * popularity


def _faded(snapshot: Snapshot, half_life: int) -> csr_matrix:
    totals, column = (
        snapshot.interactions.seen,
        snapshot.interactions.place[snapshot.interactions.seen.item],
    )
    is_known = column >= 0
    values = totals.faded[half_life][is_known].astype(np.float32)
    return in_rows(totals.customer[is_known], column[is_known], values, snapshot.interactions.size)
