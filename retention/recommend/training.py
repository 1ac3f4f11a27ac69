"""Training: what goes together, and a ranker of candidates learned on the last horizons before the cutoff."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.errors import TooLittleData
from retention.progress import Progress, part, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.catalogue import catalogue
from retention.recommend.cold_start import learn_cold
from retention.recommend.evaluation_context import (
    AUTO,
    FEWEST_CUSTOMERS,
    FEWEST_ITEMS,
    POLICIES,
    K,
    Moment,
    checked_model,
    moment,
)
from retention.recommend.event_weights import learn_worth, weighted
from retention.recommend.history import History, read
from retention.recommend.models import MODELS
from retention.recommend.ranking.ranker_training import TrainingOptions, learn_to_rank
from retention.recommend.responses import add_feedback
from retention.recommend.single_model import train_alone
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
    heard: "DataFrame | None" = None,
    progress: Progress = silent,
) -> TrainedRecommender:
    """Learn from everything before the cutoff.

    Parameters
    ----------
    lake : Lake
    cutoff : datetime
        Nothing at or after it is seen.
    horizon_days : int
        Length of the windows before the cutoff on which the ranker learns.
    seed : int
        The same seed and data give the same recommender.
    model : str
        ``auto`` or ``blend`` for candidates of several sources put in order by a ranker, else a name of `MODELS`: that
        model alone.
    min_buyers : int
        Items bought by fewer customers are not learned about (one's own are still offered again).
    heard : DataFrame, optional
        Answers to earlier recommendations, all of before the cutoff, as `responses.load_feedback` gives them.

    Raises
    ------
    BadInput
        For an unknown model.
    TooLittleData
        Where there are no events with items before the cutoff.
    """
    asked_model = checked_model(model)
    progress(0, 4000, "Reading the catalogue")
    asked = TrainingOptions(
        horizon_days, seed, asked_model, min_buyers, catalogue(lake, in_stock_only=False)
    )
    progress(200, 4000, "Reading what customers bought")
    history = read(lake, cutoff)
    if heard is not None:
        history = add_feedback(history, heard, cutoff)
    if not len(history.day):
        raise TooLittleData(
            gettext(
                "There are no events with items before {local:%d %b %Y}; import some, or "
                "choose a later cutoff."
            ).format(local=lake.local(cutoff))
        )
    end = int(history.at(cutoff))
    worth = learn_worth(history, end - horizon_days, end)
    history = weighted(history, worth)
    if asked_model in MODELS:
        found = train_alone(lake, history, cutoff, asked, part(progress, 1, 4, span=3))
        if found is not None:
            return replace(found, worth=worth)
        asked = replace(asked, model="auto")
    recipe = learn_to_rank(history, end, asked, part(progress, 1, 4, span=2))
    now = at_moment(history, cutoff, asked, part(progress, 3, 4))
    progress(4000, 4000, "Recommendations learned")
    return TrainedRecommender(
        now.learned,
        recipe.rankers,
        cutoff,
        horizon_days,
        seed,
        min_buyers,
        recipe.metrics,
        _rung(now, ranked=bool(recipe.rankers)) + recipe.note + _asked_for(asked_model),
        learn_cold(lake, now, asked.items),
        worth,
    )


def at_moment(
    history: History, cutoff: datetime, asked: TrainingOptions, progress: Progress = silent
) -> Moment:
    """What is known at the cutoff itself."""
    return moment(
        history,
        history.at(cutoff),
        asked.items,
        min_buyers=asked.min_buyers,
        model=asked.model,
        seed=asked.seed,
        progress=progress,
    )


def _asked_for(model: str) -> str:
    return "" if model in AUTO else f" {model} alone takes more customers and items than there are."


def _rung(now: Moment, *, ranked: bool) -> str:
    customers, items = now.size
    size = f"{customers:,} customers, {items:,} items"
    if now.learned.model is None:
        return (
            f"Own purchases and popularity only: {size}; learning from others takes at least "
            f"{FEWEST_CUSTOMERS} customers and {FEWEST_ITEMS} items bought by several."
        )
    if not ranked:
        return f"Own purchases and {now.learned.model.name}, added up, on {size}."
    return f"Candidates of own purchases, {now.learned.model.name}, neighbours, types and popularity, ranked, on {size}."


def window_truth(lake: "Lake", now: Moment, cutoff: datetime, horizon_days: int) -> csr_matrix:
    """What was really bought in ``[cutoff, cutoff + horizon)``, also what was only heard of later."""
    from retention.recommend.preferences import bought_between

    frame: Any = bought_between(lake, cutoff, cutoff + timedelta(days=horizon_days))
    from retention.recommend.matrices import Axes

    axes = Axes(now.scene.history.customers, now.learned.shelf.items)
    return axes.place(frame).matrix(np.ones(len(frame)))


__all__ = ["MIN_BUYERS", "POLICIES", "K", "TrainingOptions", "at_moment", "train", "window_truth"]
