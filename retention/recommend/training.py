"""Training: what goes together, and a ranker of candidates learned on the last horizons before the cutoff."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.errors import TooLittleData
from retention.progress import Progress, part, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.blend import MIXTURES, POPULARITIES, Mixture
from retention.recommend.catalogue import catalogue
from retention.recommend.cold import learn_cold
from retention.recommend.heard import with_heard
from retention.recommend.history import DAY, History, day_of, read
from retention.recommend.models import MODELS
from retention.recommend.moments import (
    AUTO,
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
)
from retention.recommend.ranker import KINDS, Ranker, fit
from retention.recommend.solo import train_alone
from retention.recommend.windows import Asked, Window, examples, window
from retention.recommend.worth import learn_worth, weighted

if TYPE_CHECKING:
    from pandas import DataFrame

    from retention.lake import Lake

MIN_BUYERS = 5
FEWEST_TO_RANK, FEWEST_ITEMS_TO_RANK = (
    100,
    50,
)  # customers who bought in the window, items: below, the mixture ranks
FEWEST_TO_TUNE = 40
HELD_BACK, MOST_HELD = 0.25, 400  # of the last window's customers, not learned from; half choose, half report
FIT_ON = 1_000  # customers a window
WINDOWS = 3  # horizons that the ranker learns on; a fourth added nothing on Complete Journey
CLEARLY = 0.95  # of bootstrap draws; the best of four is easily ahead by chance
NOBODY = np.zeros(1)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How lists are put in order: by which ranker or mixture, for each policy; what was measured; and why, in words."""

    ranker: Ranker | None
    mixture: Mixture
    kinds: dict[str, str]
    metrics: dict[str, Any]
    note: str


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
    worth = learn_worth(history, day_of(cutoff) - horizon_days, day_of(cutoff))
    history = weighted(history, worth)
    if asked_model in MODELS:
        found = train_alone(lake, history, cutoff, asked, part(progress, 1, 4, span=3))
        if found is not None:
            return replace(found, worth=worth)
        asked = replace(asked, model="auto")
    recipe = _recipe(history, cutoff, asked, part(progress, 1, 4, span=2))
    now = at_moment(history, cutoff, asked, part(progress, 3, 4))
    progress(4000, 4000, "Recommendations learned")
    return TrainedRecommender(
        now.learned, recipe.ranker, recipe.mixture, recipe.kinds, cutoff, horizon_days, seed, min_buyers,
        recipe.metrics, _rung(now, recipe.ranker) + recipe.note + _asked_for(asked_model),
        learn_cold(lake, now, asked.items), worth,
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
    """Learn to rank on the last horizons; choose and measure on customers held back from the very last."""
    plain: dict[str, str] = dict.fromkeys(POLICIES, "mixture")
    last = window(history, day_of(cutoff), asked, part(progress, 0, 4))
    if last is None or len(last.active) < FEWEST_TO_TUNE:
        return Recipe(
            None, Mixture(), plain, {}, " The mixture is our default: the history is too short to tune it."
        )
    drawn = np.random.default_rng(asked.seed).permutation(last.active)
    enough = len(drawn) >= FEWEST_TO_RANK
    held = drawn[: min(int(len(drawn) * HELD_BACK), MOST_HELD)] if enough else drawn
    choosing, reporting = np.sort(held[::2]), np.sort(held[1::2])
    mixture = _best_mixture(last.then, last.real, choosing, part(progress, 1, 4))
    ranker, note = None, ""
    if enough and last.then.size[1] >= FEWEST_ITEMS_TO_RANK:
        learners = np.sort(drawn[len(held) :][:FIT_ON])
        ranker = _ranker(history, last, learners, asked, part(progress, 2, 4))
    else:
        note = (
            f" The ranker takes {FEWEST_TO_RANK} customers who bought in the last {asked.horizon_days} days and "
            f"{FEWEST_ITEMS_TO_RANK} items bought by several; there are {len(drawn)} and {last.then.size[1]}."
        )
    return _chosen(last, (choosing, reporting), ranker, mixture, note, part(progress, 3, 4))


def _ranker(history: History, last: Window, learners: np.ndarray, asked: Asked, progress: Progress) -> Ranker:
    """Learned on the last window without those held back, and on the windows before it as far as there are any.

    Several windows, for what people buy before Thanksgiving says little of what they buy before Christmas.
    """
    found = examples(last, learners, asked.seed, part(progress, 0, WINDOWS + 1))
    end = last.start
    for number in range(1, WINDOWS):
        earlier = window(history, end, asked, part(part(progress, number, WINDOWS + 1), 0, 2))
        if (
            earlier is None
            or len(earlier.active) < FEWEST_TO_RANK
            or earlier.then.size[1] < FEWEST_ITEMS_TO_RANK
        ):
            break
        rows = np.random.default_rng(asked.seed + number).permutation(earlier.active)[:FIT_ON]
        more = part(part(progress, number, WINDOWS + 1), 1, 2)
        found = found.with_(examples(earlier, np.sort(rows), asked.seed + number, more))
        end = earlier.start
    ranker = fit(found, seed=asked.seed)
    progress(WINDOWS + 1, WINDOWS + 1, "Learning to rank")
    return ranker


def _chosen(
    last: Window,
    held: tuple[np.ndarray, np.ndarray],
    ranker: Ranker | None,
    mixture: Mixture,
    note: str,
    progress: Progress,
) -> Recipe:
    """The kind that ranks best on half of the customers held back, for each policy, measured on the other half."""
    then, real, (choosing, reporting) = last.then, last.real, held
    offered: dict[str, Score] = {"mixture": mixed(then, mixture)}
    if ranker is not None:
        stage = first_stage(then)
        offered = {kind: ranked(then, ranker.of(kind), stage) for kind in KINDS} | offered
    kinds = {}
    for number, policy in enumerate(POLICIES):
        found = {
            kind: compare(then, real, choosing, score, new_only=policy == NEW).each.get("ndcg", NOBODY)
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


def _preferred(found: dict[str, np.ndarray], draws: int = 400) -> str:
    """The mean of trees and nets, unless another kind is better in 95 of 100 bootstrap draws of the customers."""
    usual = "both" if "both" in found else "mixture"
    best = max(found, key=lambda kind: float(found[kind].mean()))
    gained = found[best] - found[usual]
    rng = np.random.default_rng(0)
    ahead = np.mean([gained[rng.integers(0, len(gained), len(gained))].mean() > 0 for _ in range(draws)])
    return best if ahead > CLEARLY else usual


def _best_mixture(then: Moment, real: csr_matrix, rows: np.ndarray, progress: Progress) -> Mixture:
    """First the half-life and the weight of others' histories, then how much popularity helps the best of them."""

    def measured(mixtures: Sequence[Mixture], done: int) -> list[float]:
        found = []
        for number, mixture in enumerate(mixtures, start=done + 1):
            found.append(compare(then, real, rows, mixed(then, mixture)).ndcg)
            progress(number, len(MIXTURES) + len(POPULARITIES), "Tuning the mixture")
        return found

    alone = measured(MIXTURES, 0)
    best = MIXTURES[int(np.argmax(alone))]
    helped = [replace(best, popularity=popularity) for popularity in POPULARITIES]
    found = [max(alone), *measured(helped, len(MIXTURES))]
    return [best, *helped][int(np.argmax(found))]


def window_truth(lake: "Lake", now: Moment, cutoff: datetime, horizon_days: int) -> csr_matrix:
    """What was really bought in ``[cutoff, cutoff + horizon)``, also what was only heard of later."""
    from retention.recommend.preferences import bought_between

    frame: Any = bought_between(lake, cutoff, cutoff + timedelta(days=horizon_days))
    from retention.recommend.matrices import Axes

    axes = Axes(now.scene.history.customers, now.learned.shelf.items)
    return axes.place(frame).matrix(np.ones(len(frame)))


__all__ = ["MIN_BUYERS", "POLICIES", "Asked", "K", "at_moment", "train", "window_truth"]
