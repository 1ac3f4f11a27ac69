"""Train a two-stage recommender or a single model."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.errors import TooLittleData
from retention.progress import Progress, part, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.candidates import CandidateSources
from retention.recommend.catalogue import catalogue
from retention.recommend.cold_start import learn_cold_start
from retention.recommend.evaluation_context import (
    AUTO,
    MIN_CUSTOMERS,
    MIN_ITEMS,
    Scorer,
    Snapshot,
    build_interactions,
    evaluate_scorer,
    ground_truth,
    learn_snapshot,
    popularity_baseline,
    repeat_baseline,
    validate_model,
)
from retention.recommend.event_weights import apply_weights, learn_weights
from retention.recommend.history import History, bought_between, read
from retention.recommend.matrices import positions
from retention.recommend.models import MODELS, Model
from retention.recommend.ranking.features import Interactions
from retention.recommend.ranking.ranker_training import TrainingOptions, learn_to_rank
from retention.recommend.responses import add_feedback
from retention.recommend.side_information import read_side_information
from retention.text import gettext

if TYPE_CHECKING:
    from pandas import DataFrame

    from retention.lake import Lake

MIN_BUYERS = 5


def train(
    lake: "Lake",
    *,
    cutoff: datetime,
    horizon_days: int = 28,
    seed: int = 0,
    model: str = "auto",
    min_buyers: int = MIN_BUYERS,
    feedback: "DataFrame | None" = None,
    progress: Progress = silent,
) -> TrainedRecommender:
    """Train a recommender on events before a cutoff.

    Parameters
    ----------
    lake : Lake
    cutoff : datetime
        Events at or after it are not read.
    horizon_days : int
        Length of the label windows before the cutoff.
    seed : int
        The same seed and data give the same recommender.
    model : str
        ``auto`` or ``blend`` for several sources ordered by a ranker; a name of `MODELS` for that
        model alone.
    min_buyers : int
        Fewest buyers of an item to learn from. A customer's own items are always candidates.
    feedback : DataFrame, optional
        Feedback on earlier recommendations before the cutoff, from `responses.load_feedback`.
    progress : Progress

    Returns
    -------
    TrainedRecommender

    Raises
    ------
    BadInput
        If the model is unknown.
    TooLittleData
        If there are no events with items before the cutoff.
    """
    model_name = validate_model(model)
    progress(0, 4000, gettext("Reading the catalogue"))
    asked = TrainingOptions(
        horizon_days, seed, model_name, min_buyers, catalogue(lake, in_stock_only=False)
    )
    progress(200, 4000, gettext("Reading what customers bought"))
    history = read(lake, cutoff)
    if feedback is not None:
        history = add_feedback(history, feedback, cutoff)
    if not len(history.day):
        raise TooLittleData(
            gettext(
                "There are no events with items before {local:%d %b %Y}; import some, or "
                "choose a later cutoff."
            ).format(local=lake.local(cutoff))
        )
    end = int(history.at(cutoff))
    weights = learn_weights(history, end - horizon_days, end)
    history = apply_weights(history, weights)
    if model_name in MODELS:
        trained = train_single_model(lake, history, cutoff, asked, part(progress, 1, 4, span=3))
        if trained is not None:
            return replace(trained, event_weights=weights)
        asked = replace(asked, model="auto")
    recipe = learn_to_rank(history, end, asked, part(progress, 1, 4, span=2))
    snapshot = snapshot_at_cutoff(history, cutoff, asked, part(progress, 3, 4))
    progress(4000, 4000, gettext("Recommendations learned"))
    return TrainedRecommender(
        snapshot.sources,
        recipe.rankers,
        cutoff,
        horizon_days,
        seed,
        min_buyers,
        recipe.metrics,
        _description(snapshot, has_ranker=bool(recipe.rankers))
        + recipe.note
        + _fallback_note(model_name),
        learn_cold_start(lake, snapshot, asked.items),
        weights,
    )


def snapshot_at_cutoff(
    history: History, cutoff: datetime, asked: TrainingOptions, progress: Progress = silent
) -> Snapshot:
    """Learn the snapshot at the cutoff.

    Parameters
    ----------
    history : History
    cutoff : datetime
    asked : TrainingOptions
    progress : Progress

    Returns
    -------
    Snapshot
    """
    return learn_snapshot(
        history,
        history.at(cutoff),
        asked.items,
        min_buyers=asked.min_buyers,
        model=asked.model,
        seed=asked.seed,
        progress=progress,
    )


def _fallback_note(model: str) -> str:
    if model in AUTO:
        return ""
    note = gettext("{model} alone takes more customers and items than there are.")
    return " " + note.format(model=model)


def _description(snapshot: Snapshot, *, has_ranker: bool) -> str:
    customers, items = snapshot.size
    model = snapshot.sources.model
    if model is None:
        return gettext(
            "Own purchases and popularity only: {customers:,} customers, {items:,} items; learning "
            "from others takes at least {min_customers} customers and {min_items} items bought by "
            "several."
        ).format(customers=customers, items=items, min_customers=MIN_CUSTOMERS, min_items=MIN_ITEMS)
    if not has_ranker:
        sentence = gettext(
            "Own purchases and {model}, added up, on {customers:,} customers, {items:,} items."
        )
    else:
        sentence = gettext(
            "Candidates of own purchases, {model}, neighbours, types and popularity, ranked, "
            "on {customers:,} customers, {items:,} items."
        )
    return sentence.format(model=model.name, customers=customers, items=items)


def window_truth(
    lake: "Lake", snapshot: Snapshot, cutoff: datetime, horizon_days: int
) -> csr_matrix:
    """Mark all purchases in the evaluation window.

    The window is ``[cutoff, cutoff + horizon)``. Purchases known only later count.

    Parameters
    ----------
    lake : Lake
    snapshot : Snapshot
    cutoff : datetime
    horizon_days : int

    Returns
    -------
    csr_matrix (customers × items)
    """
    purchases = bought_between(lake, cutoff, cutoff + timedelta(days=horizon_days))
    shape = snapshot.size
    row = positions(snapshot.interactions.history.customers, purchases["customer_id"])
    column = positions(snapshot.sources.item_stats.items, purchases["item_id"])
    is_known = (row >= 0) & (column >= 0)
    ones = np.ones(int(is_known.sum()), dtype=np.float32)
    return csr_matrix((ones, (row[is_known], column[is_known])), shape=shape)


MAX_MEASURED = 2_000  # customers


def train_single_model(
    lake: "Lake",
    history: History,
    cutoff: datetime,
    asked: TrainingOptions,
    progress: Progress = silent,
) -> TrainedRecommender | None:
    """Train and measure a single model.

    None in a shop too small for one.

    Parameters
    ----------
    lake : Lake
    history : History
        Events before the cutoff.
    cutoff : datetime
    asked : TrainingOptions
        Its ``model`` is a name of `MODELS`.
    progress : Progress

    Returns
    -------
    TrainedRecommender or None
    """
    metrics = _measure(lake, history, cutoff, asked, part(progress, 0, 2))
    interactions = build_interactions(history, history.at(cutoff), asked.items, asked.min_buyers)
    if not has_enough_data(interactions):
        return None
    model = fit_model(lake, interactions, asked, part(progress, 1, 2))
    customers, items = len(history.customers), len(interactions.item_stats.items)
    note = getattr(model, "pruning_note", "")
    sentence = gettext("{model} alone, on {customers:,} customers, {items:,} items.")
    description = sentence.format(model=model.name, customers=customers, items=items)
    description += f" {note}" if note else ""
    return TrainedRecommender(
        CandidateSources(interactions.item_stats, model, None),
        {},
        cutoff,
        asked.horizon_days,
        asked.seed,
        asked.min_buyers,
        metrics,
        description,
        alone=True,
    )


def has_enough_data(interactions: Interactions) -> bool:
    """Return whether there are enough customers and items."""
    return (
        len(interactions.history.customers) >= MIN_CUSTOMERS
        and len(interactions.item_stats.items) >= MIN_ITEMS
    )


def fit_model(
    lake: "Lake", interactions: Interactions, asked: TrainingOptions, progress: Progress = silent
) -> Model:
    """Fit the requested model to interactions.

    Parameters
    ----------
    lake : Lake
    interactions : Interactions
    asked : TrainingOptions
    progress : Progress

    Returns
    -------
    Model
    """
    model = MODELS[asked.model]()
    texts = asked.items.texts_of(interactions.item_stats.items)
    side = read_side_information(lake, interactions, texts, model.uses)
    return model.fit(interactions.liked, side=side, seed=asked.seed, progress=progress)


def single_model_scorer(lake: "Lake", snapshot: Snapshot) -> Scorer:
    """Build the scorer of a single model.

    Items without a score are excluded.

    Parameters
    ----------
    lake : Lake
    snapshot : Snapshot

    Returns
    -------
    Scorer
    """
    model, interactions = snapshot.sources.model, snapshot.interactions
    assert model is not None
    liked = interactions.liked
    known = len(snapshot.sources.item_stats.items)  # the interactions may have more items
    looks_at = [name for name in model.uses if name != "texts"]  # texts are only used in training
    side = read_side_information(lake, interactions, (), looks_at).first_items(known)

    def score(rows: np.ndarray) -> np.ndarray:
        values = np.full((len(rows), liked.shape[1]), -np.inf, dtype=np.float32)
        scores = model.scores(csr_matrix(liked[rows, :known]), side=side.select(rows))
        values[:, :known] = np.where(scores != 0, scores, -np.inf)  # 0 means nothing known
        return values

    return score


def _measure(
    lake: "Lake", history: History, cutoff: datetime, asked: TrainingOptions, progress: Progress
) -> dict[str, Any]:
    """Measure model and baselines in the last horizon."""
    end = int(history.at(cutoff))
    start = end - asked.horizon_days
    past = history.before(start)
    if not len(past.day):
        return {}
    interactions = build_interactions(past, float(start), asked.items, asked.min_buyers)
    if not has_enough_data(interactions):
        return {}
    model = fit_model(lake, interactions, asked, part(progress, 0, 2))
    snapshot = Snapshot(CandidateSources(interactions.item_stats, model, None), interactions)
    purchases = ground_truth(snapshot, history, start, end)
    rows = np.flatnonzero(np.diff(purchases.indptr) > 0)
    if not len(rows):
        return {}
    rows = np.sort(np.random.default_rng(asked.seed).permutation(rows)[:MAX_MEASURED])
    metrics, popular, repeat = (
        evaluate_scorer(snapshot, purchases, rows, score, progress=part(progress, 1, 2)).as_dict()
        for score in (
            single_model_scorer(lake, snapshot),
            popularity_baseline(snapshot),
            repeat_baseline(snapshot),
        )
    )
    return {
        **metrics,
        "customers": len(rows),
        "baselines": {"popular": popular, "buy_it_again": repeat},
    }
