"""One model alone, by its name: learned, measured beside the baselines on the last horizon, and kept for serving."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, part, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.evaluation_context import (
    FEWEST_CUSTOMERS,
    FEWEST_ITEMS,
    Moment,
    Score,
    buy_it_again,
    compare,
    popular,
    scene_at,
    truth,
)
from retention.recommend.history import History
from retention.recommend.models import MODELS, Model
from retention.recommend.ranking.features import Scene
from retention.recommend.side_information import beside
from retention.recommend.sources import Learned

if TYPE_CHECKING:
    from retention.lake import Lake
    from retention.recommend.ranking.ranker_training import TrainingOptions

MOST_MEASURED = 2_000  # customers


def train_alone(
    lake: "Lake",
    history: History,
    cutoff: datetime,
    asked: "TrainingOptions",
    progress: Progress = silent,
) -> TrainedRecommender | None:
    """Learn one model from everything before the cutoff; None where the shop is too small for one.

    Parameters
    ----------
    lake : Lake
    history : History
        Everything before the cutoff.
    asked : TrainingOptions
        Its ``model`` is a name of `MODELS`.
    """
    metrics = _measured(lake, history, cutoff, asked, part(progress, 0, 2))
    scene = scene_at(history, history.at(cutoff), asked.items, asked.min_buyers)
    if not enough(scene):
        return None
    model = learn(lake, scene, asked, part(progress, 1, 2))
    customers, items = len(history.customers), len(scene.shelf.items)
    told = getattr(model, "pruning_note", "")
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


def learn(
    lake: "Lake", scene: Scene, asked: "TrainingOptions", progress: Progress = silent
) -> Model:
    """The model of that name, learned from a scene."""
    model = MODELS[asked.model]()
    texts = asked.items.texts_of(scene.shelf.items)
    side = beside(lake, scene, texts, model.uses)
    return model.fit(scene.liked, side=side, seed=asked.seed, progress=progress)


def alone(lake: "Lake", now: Moment) -> Score:
    """The order of the learned model alone."""
    model, scene = now.learned.model, now.scene
    assert model is not None
    liked = scene.liked
    known = len(now.learned.shelf.items)  # the scene's shelf may be longer
    uses = [name for name in model.uses if name != "texts"]  # those are only learned from
    side = beside(lake, scene, (), uses).first_items(known)

    def score(rows: np.ndarray) -> np.ndarray:
        found = np.full((len(rows), liked.shape[1]), -np.inf, dtype=np.float32)
        said = model.scores(csr_matrix(liked[rows, :known]), side=side.select(rows))
        found[:, :known] = np.where(
            said != 0, said, -np.inf
        )  # 0 is "nothing known", never "the first items"
        return found

    return score


def _measured(
    lake: "Lake", history: History, cutoff: datetime, asked: "TrainingOptions", progress: Progress
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
