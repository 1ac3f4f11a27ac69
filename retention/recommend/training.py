"""Train a two-stage recommender or a single model."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.errors import TooLittleData
from retention.progress import Progress, part, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.candidates import CandidateSources
from retention.recommend.catalogue import catalogue
from retention.recommend.cold_start import learn_cold_start
from retention.recommend.evaluation.evaluation_context import (
    AUTO,
    BASELINES,
    BOTH,
    MIN_CUSTOMERS,
    MIN_ITEMS,
    RankingKey,
    Scorer,
    Snapshot,
    TrainingOptions,
    build_interactions,
    learn_snapshot,
    measure_scorers,
    validate_model,
)
from retention.recommend.event_weights import apply_weights, learn_weights
from retention.recommend.history import History, bought_between, read
from retention.recommend.matrices import ones_at, positions
from retention.recommend.models import MODELS
from retention.recommend.ranking.ranker_training import learn_to_rank, past_window, report_metrics
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

    `horizon_days`: length of the label windows before the cutoff.
    `model`: ``auto`` or ``blend`` for several sources ordered by a ranker; a name of `MODELS` for
    that model alone.
    `min_buyers`: fewest buyers of an item to learn from. A customer's own items are always
    candidates.
    `feedback`: feedback on earlier recommendations before the cutoff, from
    `responses.load_feedback`.
    """
    model_name = validate_model(model)
    progress(0, 4000, gettext("Reading the catalogue"))
    items = catalogue(lake, in_stock_only=False)
    asked = TrainingOptions(horizon_days, seed, model_name, min_buyers, items)
    progress(200, 4000, gettext("Reading what customers bought"))
    history = read(lake, cutoff)
    if feedback is not None:
        history = add_feedback(history, feedback, cutoff)
    if not len(history.day):
        text = gettext(
            "There are no events with items before {local:%d %b %Y}; import some, or "
            "choose a later cutoff."
        )
        raise TooLittleData(text.format(local=lake.local(cutoff)))
    at = history.at(cutoff)
    end = int(at)
    weights = learn_weights(history, end - horizon_days, end)
    history = apply_weights(history, weights)
    if model_name in MODELS:
        trained = train_single_model(lake, history, cutoff, asked, part(progress, 1, 4, span=3))
        if trained is not None:
            return replace(trained, event_weights=weights)
    recipe = learn_to_rank(history, end, asked, part(progress, 1, 4, span=2))
    snapshot = learn_snapshot(history, at, asked, part(progress, 3, 4))
    rung = _description(snapshot, has_ranker=bool(recipe.rankers)) + recipe.note
    if model_name not in AUTO:
        note = gettext("{model} alone takes more customers and items than there are.")
        rung += " " + note.format(model=model_name)
    progress(4000, 4000, gettext("Recommendations learned"))
    return TrainedRecommender(
        snapshot.sources,
        recipe.rankers,
        cutoff,
        horizon_days,
        seed,
        min_buyers,
        recipe.metrics,
        rung,
        learn_cold_start(lake, snapshot, items),
        weights,
    )


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
    """
    purchases = bought_between(lake, cutoff, cutoff + timedelta(days=horizon_days))
    row = positions(snapshot.interactions.history.customers, purchases["customer_id"])
    column = positions(snapshot.sources.item_stats.items, purchases["item_id"])
    return ones_at(row, column, snapshot.size)


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

    `history`: events before the cutoff.
    """
    metrics = _measure(lake, history, cutoff, asked, part(progress, 0, 2))
    snapshot = _fit_snapshot(lake, history, history.at(cutoff), asked, part(progress, 1, 2))
    if snapshot is None:
        return None
    model, (customers, items) = snapshot.sources.model, snapshot.size
    note = getattr(model, "pruning_note", "")
    sentence = gettext("{model} alone, on {customers:,} customers, {items:,} items.")
    description = sentence.format(model=asked.model, customers=customers, items=items)
    description += f" {note}" if note else ""
    return TrainedRecommender(
        snapshot.sources,
        {},
        cutoff,
        asked.horizon_days,
        asked.seed,
        asked.min_buyers,
        metrics,
        description,
        alone=True,
    )


def _fit_snapshot(
    lake: "Lake", history: History, at: float, asked: TrainingOptions, progress: Progress
) -> Snapshot | None:
    """Fit the requested model. None without enough customers and items."""
    interactions = build_interactions(history, at, asked)
    items = interactions.item_stats.items
    if len(history.customers) < MIN_CUSTOMERS or len(items) < MIN_ITEMS:
        return None
    model = MODELS[asked.model]()
    side = read_side_information(lake, interactions, asked.items.texts_of(items), model.uses)
    model.fit(interactions.liked, side=side, seed=asked.seed, progress=progress)
    return Snapshot(CandidateSources(interactions.item_stats, model, None), interactions)


def single_model_scorer(lake: "Lake", snapshot: Snapshot) -> Scorer:
    """Build the scorer of a single model. Items without a score are excluded."""
    model, interactions = snapshot.sources.model, snapshot.interactions
    assert model is not None
    liked = interactions.liked
    known = snapshot.size[1]  # the interactions may have more items
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
    end, learn = int(history.at(cutoff)), partial(_fit_snapshot, lake)
    window = past_window(history, end, asked, part(progress, 0, 2), learn)
    if window is None or not len(window.active):
        return {}
    snapshot = window.snapshot
    rows = np.random.default_rng(asked.seed).permutation(window.active)[:MAX_MEASURED]
    scores: dict[RankingKey, Scorer] = {("", BOTH): single_model_scorer(lake, snapshot)}
    scores |= {(name, BOTH): baseline(snapshot) for name, baseline in BASELINES.items()}
    measured = measure_scorers(
        snapshot, np.sort(rows), scores, window.purchases, part(progress, 1, 2)
    )
    return report_metrics({name: each for (name, _), each in measured.items()}, "")
