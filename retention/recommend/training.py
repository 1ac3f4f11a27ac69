"""Training: what goes together, and a ranker of candidates learned on the last horizons before the cutoff."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.errors import TooLittleData
from retention.progress import Progress, part, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.candidates import Learned
from retention.recommend.catalogue import catalogue
from retention.recommend.cold_start import learn_cold
from retention.recommend.evaluation_context import (
    AUTO,
    FEWEST_CUSTOMERS,
    FEWEST_ITEMS,
    POLICIES,
    K,
    Moment,
    Score,
    buy_it_again,
    checked_model,
    compare,
    moment,
    popular,
    scene_at,
    truth,
)
from retention.recommend.event_weights import learn_worth, weighted
from retention.recommend.feedback.feedback_events import with_heard
from retention.recommend.history import History, read
from retention.recommend.models import MODELS, Model
from retention.recommend.ranking.features import Scene
from retention.recommend.ranking.recipe import learn_to_rank
from retention.recommend.ranking.windows import Asked
from retention.recommend.side_information import beside
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
        Answers to earlier recommendations, all of before the cutoff, as `heard.gather` gives them.

    Raises
    ------
    BadInput
        For an unknown model.
    TooLittleData
        Where there are no events with items before the cutoff.
    """
    asked_model = checked_model(model)
    progress(0, 4000, "Reading the catalogue")
    asked = Asked(horizon_days, seed, asked_model, min_buyers, catalogue(lake, in_stock_only=False))
    progress(200, 4000, "Reading what customers bought")
    history = read(lake, cutoff)
    if heard is not None:
        history = with_heard(history, heard, cutoff)
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
    history: History, cutoff: datetime, asked: Asked, progress: Progress = silent
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
    from retention.recommend.history import bought_between

    frame: Any = bought_between(lake, cutoff, cutoff + timedelta(days=horizon_days))
    from retention.recommend.matrices import Axes

    axes = Axes(now.scene.history.customers, now.learned.shelf.items)
    return axes.place(frame).matrix(np.ones(len(frame)))


__all__ = ["MIN_BUYERS", "POLICIES", "Asked", "K", "at_moment", "train", "window_truth"]


MOST_MEASURED = 2_000  # customers


def train_alone(
    lake: "Lake", history: History, cutoff: datetime, asked: Asked, progress: Progress = silent
) -> TrainedRecommender | None:
    """Learn one model from everything before the cutoff; None where the shop is too small for one.

    Parameters
    ----------
    lake : Lake
    history : History
        Everything before the cutoff.
    asked : Asked
        Its ``model`` is a name of `MODELS`.
    """
    metrics = _measured(lake, history, cutoff, asked, part(progress, 0, 2))
    scene = scene_at(history, history.at(cutoff), asked.items, asked.min_buyers)
    if not enough(scene):
        return None
    model = learn(lake, scene, asked, part(progress, 1, 2))
    customers, items = len(history.customers), len(scene.shelf.items)
    told = getattr(model, "told", "")
    rung = f"{model.name} alone, on {customers:,} customers, {items:,} items.{told and ' '}{told}"
    return TrainedRecommender(
        Learned(scene.shelf, model, None),
        {},
        cutoff,
        asked.horizon_days,
        asked.seed,
        asked.min_buyers,
        metrics,
        rung,
        alone=True,
    )


def enough(scene: Scene) -> bool:
    """Whether there are customers and items enough to learn from others."""
    return (
        len(scene.history.customers) >= FEWEST_CUSTOMERS and len(scene.shelf.items) >= FEWEST_ITEMS
    )


def learn(lake: "Lake", scene: Scene, asked: Asked, progress: Progress = silent) -> Model:
    """The model of that name, learned from a scene."""
    model = MODELS[asked.model]()
    texts = asked.items.texts_of(scene.shelf.items)
    side = beside(lake, scene, texts, model.looks_at)
    return model.fit(scene.liked, side=side, seed=asked.seed, progress=progress)


def alone(lake: "Lake", now: Moment) -> Score:
    """The order of the learned model alone."""
    model, scene = now.learned.model, now.scene
    assert model is not None
    liked = scene.liked
    known = len(now.learned.shelf.items)  # the scene's shelf may be longer
    looks_at = [name for name in model.looks_at if name != "texts"]  # those are only learned from
    side = beside(lake, scene, (), looks_at).upto(known)

    def score(rows: np.ndarray) -> np.ndarray:
        found = np.full((len(rows), liked.shape[1]), -np.inf, dtype=np.float32)
        said = model.scores(csr_matrix(liked[rows, :known]), side=side.of(rows))
        found[:, :known] = np.where(
            said != 0, said, -np.inf
        )  # 0 is "nothing known", never "the first items"
        return found

    return score


def _measured(
    lake: "Lake", history: History, cutoff: datetime, asked: Asked, progress: Progress
) -> dict[str, Any]:
    """How the model ranks in the last horizon, learned from what lay before it, beside the baselines."""
    end = int(history.at(cutoff))
    start = end - asked.horizon_days
    past = history.before(start)
    if not len(past.day):
        return {}
    scene = scene_at(past, float(start), asked.items, asked.min_buyers)
    if not enough(scene):
        return {}
    model = learn(lake, scene, asked, part(progress, 0, 2))
    then = Moment(Learned(scene.shelf, model, None), scene)
    real = truth(then, history, start, end)
    rows = np.flatnonzero(np.diff(real.indptr) > 0)
    if not len(rows):
        return {}
    rows = np.sort(np.random.default_rng(asked.seed).permutation(rows)[:MOST_MEASURED])
    ours, lately, again = (
        compare(then, real, rows, score, progress=part(progress, 1, 2)).as_dict()
        for score in (alone(lake, then), popular(then), buy_it_again(then))
    )
    return {**ours, "customers": len(rows), "baselines": {"popular": lately, "buy_it_again": again}}
