"""Training: what goes together, and a ranker of candidates learned on the last horizons before the cutoff."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.errors import TooLittleData
from retention.progress import Progress, part, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.blend import MIXTURES, Mixture
from retention.recommend.catalogue import Catalogue, catalogue
from retention.recommend.heard import with_heard
from retention.recommend.history import DAY, History, day_of, read
from retention.recommend.models import MODELS
from retention.recommend.moments import (
    AUTO,
    BATCH,
    FEWEST_CUSTOMERS,
    FEWEST_ITEMS,
    NEW,
    POLICIES,
    K,
    Moment,
    Score,
    buy_it_again,
    checked_model,
    compare,
    first_stage,
    mixed,
    moment,
    popular,
    ranked,
    truth,
)
from retention.recommend.ranker import KINDS, Examples, Ranker, fit
from retention.recommend.solo import train_alone
from retention.recommend.sources import candidates

if TYPE_CHECKING:
    from pandas import DataFrame

    from retention.lake import Lake

MIN_BUYERS = 5
FEWEST_TO_RANK, FEWEST_ITEMS_TO_RANK = (
    100,
    50,
)  # customers who bought in the window, items: below, the mixture ranks
FEWEST_TO_TUNE = 40
HELD_BACK, MOST_HELD = 0.25, 400  # of the window's customers, not learned from; half choose, half report
FIT_ON = 2_000  # customers a window
WITHIN_NOISE = 0.02  # of NDCG
THINNED = 0.25  # of the candidates that were not bought


@dataclass(frozen=True, slots=True)
class Recipe:
    """How lists are put in order: by which ranker or mixture, for each policy; what was measured; and why, in words."""

    ranker: Ranker | None
    mixture: Mixture
    kinds: dict[str, str]
    metrics: dict[str, Any]
    note: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What to train."""

    horizon_days: int
    seed: int
    model: str
    min_buyers: int
    items: Catalogue


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
        Length of the window before the cutoff on which the ranker learns.
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
        history = with_heard(history, heard, cutoff.timestamp() / DAY)
    if not len(history.day):
        raise TooLittleData(
            f"There are no events with items before {cutoff:%d %b %Y}; import some, or choose a later cutoff."
        )
    if asked_model in MODELS:
        found = train_alone(lake, history, cutoff, asked, part(progress, 1, 4, span=3))
        if found is not None:
            return found
        asked = replace(asked, model="auto")
    recipe = _recipe(history, cutoff, asked, part(progress, 1, 4, span=2))
    now = at_moment(history, cutoff, asked, part(progress, 3, 4))
    progress(4000, 4000, "Recommendations learned")
    return TrainedRecommender(
        now.learned, recipe.ranker, recipe.mixture, recipe.kinds, cutoff, horizon_days, seed, min_buyers,
        recipe.metrics, _rung(now, recipe.ranker) + recipe.note + _asked_for(asked_model),
    )  # fmt: skip


def at_moment(history: History, cutoff: datetime, asked: Asked, progress: Progress = silent) -> Moment:
    """What is known at the cutoff itself."""
    return moment(
        history, cutoff.timestamp() / DAY, asked.items, min_buyers=asked.min_buyers, model=asked.model,
        seed=asked.seed, progress=progress,
    )  # fmt: skip


def _asked_for(model: str) -> str:
    return "" if model in AUTO else f" {model} alone takes more customers and items than there are."


def _rung(now: Moment, ranker: Ranker | None) -> str:
    customers, items = now.size
    size = f"{customers:,} customers, {items:,} items"
    if now.learned.model is None:
        return (
            f"Own purchases and popularity only: {size}; learning from others takes at least "
            f"{FEWEST_CUSTOMERS} customers and {FEWEST_ITEMS} items bought by several."
        )
    if ranker is None:
        return f"Own purchases and {now.learned.model.name}, weighed, on {size}."
    return f"Candidates of own purchases, {now.learned.model.name}, neighbours, types and popularity, ranked, on {size}."


def _recipe(history: History, cutoff: datetime, asked: Asked, progress: Progress) -> Recipe:
    """Learn to rank on the last horizon; choose and measure on customers held back from it."""
    end = day_of(cutoff)
    start = end - asked.horizon_days
    past = history.before(start)
    plain: dict[str, str] = dict.fromkeys(POLICIES, "mixture")
    short = Recipe(
        None, Mixture(), plain, {}, " The mixture is our default: the history is too short to tune it."
    )
    if not len(past.day):
        return short
    then = moment(
        past, float(start), asked.items, min_buyers=asked.min_buyers, model=asked.model, seed=asked.seed,
        progress=part(progress, 0, 4),
    )  # fmt: skip
    real = truth(then, history, start, end)
    active = np.flatnonzero(np.diff(real.indptr) > 0)
    if len(active) < FEWEST_TO_TUNE:
        return short
    drawn = np.random.default_rng(asked.seed).permutation(active)
    held = drawn[: min(int(len(drawn) * HELD_BACK), MOST_HELD)] if len(drawn) >= FEWEST_TO_RANK else drawn
    choosing, reporting = np.sort(held[::2]), np.sort(held[1::2])
    mixture = _best_mixture(then, real, choosing, part(progress, 1, 4))
    ranker, note, examples = None, "", None
    if len(active) >= FEWEST_TO_RANK and then.size[1] >= FEWEST_ITEMS_TO_RANK:
        learners = np.sort(drawn[len(held) :][:FIT_ON])
        examples = _examples(then, real, learners, asked.seed, part(progress, 2, 4))
        ranker = fit(examples, seed=asked.seed)
    else:
        note = (
            f" The ranker takes {FEWEST_TO_RANK} customers who bought in the last {asked.horizon_days} days and "
            f"{FEWEST_ITEMS_TO_RANK} items bought by several; there are {len(active)} and {then.size[1]}."
        )
    found = _chosen(then, real, (choosing, reporting), ranker, mixture, note, part(progress, 3, 4))
    if examples is None or set(found.kinds.values()) == {"mixture"}:
        return found
    # once measured, those held back are learned from as well
    more = _examples(then, real, np.sort(held), asked.seed + 1, part(progress, 3, 4))
    again = fit(examples.with_(more), seed=asked.seed)
    return replace(found, ranker=again)


def _chosen(
    then: Moment,
    real: csr_matrix,
    held: tuple[np.ndarray, np.ndarray],
    ranker: Ranker | None,
    mixture: Mixture,
    note: str,
    progress: Progress,
) -> Recipe:
    """The kind that ranks best on half of the customers held back, for each policy, measured on the other half."""
    choosing, reporting = held
    offered: dict[str, Score] = {"mixture": mixed(then, mixture)}
    if ranker is not None:
        stage = first_stage(then)
        offered = {kind: ranked(then, ranker.of(kind), stage) for kind in KINDS} | offered
    kinds = {}
    for number, policy in enumerate(POLICIES):
        found = {
            kind: compare(then, real, choosing, score, new_only=policy == NEW).ndcg
            for kind, score in offered.items()
        }
        kinds[policy] = _preferred(found)
        progress(number, 3, "Choosing how to rank")
    ours, lately, again = (
        compare(then, real, reporting, score).as_dict()
        for score in (offered[kinds["both"]], popular(then), buy_it_again(then))
    )
    progress(3, 3, "Choosing how to rank")
    metrics = {**ours, "customers": len(reporting), "baselines": {"popular": lately, "buy_it_again": again}}
    return Recipe(ranker, mixture, kinds, metrics, note)


def _preferred(found: dict[str, float]) -> str:
    """The best kind; but the mean of both rankers where that is as good within the noise of a few hundred customers."""
    best = max(found, key=found.__getitem__)
    return "both" if found.get("both", -1.0) >= found[best] * (1 - WITHIN_NOISE) else best


def _best_mixture(then: Moment, real: csr_matrix, rows: np.ndarray, progress: Progress) -> Mixture:
    best, leading = Mixture(), -1.0
    for number, mixture in enumerate(MIXTURES):
        found = compare(then, real, rows, mixed(then, mixture)).ndcg
        if found > leading:
            best, leading = mixture, found
        progress(number + 1, len(MIXTURES), "Tuning the mixture")
    return best


def _examples(then: Moment, real: csr_matrix, rows: np.ndarray, seed: int, progress: Progress) -> Examples:
    """Candidates of these customers with what became of them; what was not bought is thinned and weighs more."""
    rng = np.random.default_rng(seed)
    views, labels, weights = [], [], []
    purchases = np.diff(real.indptr)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        found = candidates(then.learned, then.scene, batch)
        bought = np.asarray(real[batch][found.row, found.column]).ravel() > 0
        kept = bought | (rng.random(len(bought)) < THINNED)
        views.append(found.view[kept])
        labels.append(bought[kept])
        weights.append(np.where(bought, 1, 1 / THINNED)[kept] / np.sqrt(purchases[batch][found.row[kept]]))
        progress(start + len(batch), len(rows), "Gathering candidates to learn from")
    return Examples(np.concatenate(views), np.concatenate(labels), np.concatenate(weights))


def window_truth(lake: "Lake", now: Moment, cutoff: datetime, horizon_days: int) -> csr_matrix:
    """What was really bought in ``[cutoff, cutoff + horizon)``, also what was only heard of later."""
    from retention.recommend.preferences import bought_between

    frame: Any = bought_between(lake, cutoff, cutoff + timedelta(days=horizon_days))
    from retention.recommend.matrices import Axes

    axes = Axes(now.scene.history.customers, now.learned.shelf.items)
    return axes.place(frame).matrix(np.ones(len(frame)))


__all__ = ["MIN_BUYERS", "POLICIES", "Asked", "K", "at_moment", "train", "window_truth"]
