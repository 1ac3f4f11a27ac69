"""How good are the recommendations? Trained before a cutoff, compared with what was bought after it, beside baselines."""

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.errors import BadInput, TooLittleData
from retention.progress import Progress, part, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.features import PERSON, Scene
from retention.recommend.history import DAY, pairs, read
from retention.recommend.moments import Moment, Score, buy_it_again, compare, mixed, only_new, popular, ranked
from retention.recommend.positions import positions
from retention.recommend.sources import had
from retention.recommend.training import MIN_BUYERS, K, train, window_truth

if TYPE_CHECKING:
    from retention.lake import Lake


def evaluate(
    lake: "Lake",
    *,
    cutoff: datetime,
    horizon_days: int = 28,
    k: int = K,
    min_buyers: int = MIN_BUYERS,
    new_items_only: bool = False,
    model: str = "auto",
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The contract's JSON of ``retention evaluate recommend``.

    Ranks the items bought by at least ``min_buyers`` customers before the cutoff (and not barred by the catalogue) for
    the customers who have a history and bought one of them in ``[cutoff, cutoff + horizon)``; with
    ``new_items_only`` one they had never bought, and such items leave both list and truth.

    Raises
    ------
    BadInput
        For a ``k`` or ``min_buyers`` below 1.
    TooLittleData
        Where there is no history, no such item, or no such customer.
    """
    if k < 1 or min_buyers < 1:
        raise BadInput(f"k is {k} and min-buyers {min_buyers}; both must be at least 1.")
    began = time.perf_counter()
    trained = train(
        lake, cutoff=cutoff, horizon_days=horizon_days, seed=seed, model=model, min_buyers=min_buyers,
        progress=part(progress, 0, 3, span=2),
    )  # fmt: skip
    trained_in = time.perf_counter() - began
    if not len(trained.items):
        raise TooLittleData(f"No item was bought by {min_buyers} customers before {cutoff:%d %b %Y}.")
    now = standing(lake, trained, cutoff)
    real = window_truth(lake, now, cutoff, horizon_days)
    rows = np.flatnonzero(np.diff((only_new(now, real) if new_items_only else real).indptr) > 0)
    if not len(rows):
        raise TooLittleData(
            f"Nobody with a history bought any of {len(trained.items):,} items in the {horizon_days} days "
            f"from {cutoff:%d %b %Y}; choose an earlier cutoff."
        )
    scorers = {
        "model": ordering(trained, now, "new" if new_items_only else "both"),
        "popular": popular(now),
        "buy_it_again": buy_it_again(now),
    }
    began = time.perf_counter()
    found = {
        name: compare(
            now, real, rows, score, k=k, new_only=new_items_only,
            progress=part(part(progress, 2, 3), number, len(scorers)),
        )
        for number, (name, score) in enumerate(scorers.items())
    }  # fmt: skip
    ours = found["model"]
    return {
        "customers": ours.customers,
        "items": len(trained.items),
        "metrics": ours.as_dict(),
        "hit_rate": ours.hit_rate,
        "intervals": {"ndcg": ours.interval(seed=seed)},
        "at_risk": {name: _of_the_quiet(now, rows, one.each[:, 1]) for name, one in found.items()},
        "tuned_before": (cutoff - timedelta(days=horizon_days)).isoformat(),
        "baselines": {name: found[name].as_dict() for name in ("popular", "buy_it_again")},
        "model": trained.estimator,
        "parameters": trained.parameters,
        "rung": trained.rung,
        "seconds": {"train": round(trained_in, 3), "score": round(time.perf_counter() - began, 3)},
    }


def _of_the_quiet(now: Moment, rows: np.ndarray, ndcg: np.ndarray) -> float:
    """Mean NDCG of the quarter of customers who have been silent longest."""
    quiet = np.nan_to_num(now.scene.people[rows, PERSON.index("quiet")], nan=np.inf)
    silent_longest = np.argsort(-quiet, kind="stable")[: max(len(rows) // 4, 1)]
    return float(ndcg[silent_longest].mean())


def standing(lake: "Lake", trained: TrainedRecommender, at: datetime) -> Moment:
    """All customers as they stood at a moment, in front of what the recommender has learned."""
    history = read(lake, at)
    moment = at.timestamp() / DAY
    place = positions(trained.items, history.items)
    scene = Scene(trained.learned.shelf, history, pairs(history, moment), moment, place)
    return Moment(trained.learned, scene, had(scene, (len(history.customers), len(trained.items))))


def ordering(trained: TrainedRecommender, now: Moment, policy: str) -> Score:
    """How this recommender ranks under a policy."""
    ranker = trained.ranking(policy)
    return ranked(now, ranker) if ranker is not None else mixed(now, trained.mixture)
