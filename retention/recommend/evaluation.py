"""How good are the recommendations? Trained before a cutoff, compared with what was bought after it, beside baselines."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.errors import BadInput, TooLittleData
from retention.lake.coverage import check_label_window
from retention.progress import Progress, part, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.beyond_accuracy import beyond
from retention.recommend.evaluation_context import (
    BOTH,
    FEWEST_CUSTOMERS,
    FEWEST_ITEMS,
    NEW,
    POLICIES,
    FirstStage,
    Moment,
    Score,
    bought_by,
    buy_it_again,
    factors,
    first_stage,
    mixed,
    only_new,
    popular,
    rank,
    ranked,
)
from retention.recommend.event_weights import weighted
from retention.recommend.history import pairs, read
from retention.recommend.id_index import positions
from retention.recommend.metrics import ACCURACY, Ranking, interval, ranking
from retention.recommend.ranking.features import PERSON, Scene
from retention.recommend.single_model import alone
from retention.recommend.training import MIN_BUYERS, K, train, window_truth
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

ACTIVITY = (0, 1, 10, 100)  # purchases in the history from which a group of customers begins
MODEL = "model"


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
    ``new_items_only`` one they had never bought, and such items leave both list and truth. Without it the figures of
    new items stand beside, under ``new_items``.

    Raises
    ------
    BadInput
        For a ``k`` or ``min_buyers`` below 1, or where the horizon after the cutoff is not over in the data.
    TooLittleData
        Where there is no history, no such item, or no such customer.
    """
    if k < 1 or min_buyers < 1:
        raise BadInput(
            gettext("k is {k} and min-buyers {min_buyers}; both must be at least 1.").format(
                k=k, min_buyers=min_buyers
            )
        )
    check_label_window(lake, cutoff, horizon_days)
    began = time.perf_counter()
    trained = train(
        lake,
        cutoff=cutoff,
        horizon_days=horizon_days,
        seed=seed,
        model=model,
        min_buyers=min_buyers,
        progress=part(progress, 0, 3, span=2),
    )
    trained_in = time.perf_counter() - began
    if not len(trained.items):
        raise TooLittleData(
            gettext("No item was bought by {min_buyers} customers before {local:%d %b %Y}.").format(
                min_buyers=min_buyers, local=lake.local(cutoff)
            )
        )
    now = standing(lake, trained, cutoff)
    real = window_truth(lake, now, cutoff, horizon_days)
    if not (only_new(now, real) if new_items_only else real).nnz:
        raise TooLittleData(
            gettext(
                "Nobody with a history bought any of {count:,} items in the {horizon_days} "
                "days from {local:%d %b %Y}; choose an earlier cutoff."
            ).format(count=len(trained.items), horizon_days=horizon_days, local=lake.local(cutoff))
        )
    began = time.perf_counter()
    policies = (NEW,) if new_items_only else POLICIES
    compared, left_out = comparison(
        trained,
        now,
        real,
        policies,
        k=k,
        by_itself=alone(lake, now) if trained.alone else None,
        progress=part(progress, 2, 3),
    )
    return {
        **_told(compared[policies[0]], seed),
        "items": len(trained.items),
        "new_items": _told(compared[NEW], seed) if BOTH in compared and NEW in compared else None,
        "left_out": left_out,
        "tuned": {
            "cutoff": (cutoff - timedelta(days=horizon_days)).isoformat(),
            "until": cutoff.isoformat(),
            "how": trained.kinds[policies[0]],
        },
        "model": trained.estimator,
        "parameters": trained.parameters,
        "rung": trained.rung,
        "seconds": {"train": round(trained_in, 3), "score": round(time.perf_counter() - began, 3)},
    }


@dataclass(frozen=True, slots=True)
class Compared:
    """The same customers' lists by our model and the baselines under one policy.

    Parameters
    ----------
    found : mapping of str to Ranking
    described : mapping of str to dict
        Novelty, diversity and calibration.
    purchases, quiet : ndarray (customers,)
        How much each of these customers had bought before the cutoff, and how many days they had been silent.
    """

    found: Mapping[str, Ranking]
    described: Mapping[str, Mapping[str, float | None]]
    purchases: np.ndarray
    quiet: np.ndarray


def comparison(
    trained: TrainedRecommender,
    now: Moment,
    real: csr_matrix,
    policies: tuple[str, ...],
    *,
    k: int,
    by_itself: Score | None = None,
    progress: Progress = silent,
) -> tuple[dict[str, Compared], dict[str, str]]:
    """Rank for everybody who bought something, under each policy that anybody can be measured under.

    ``by_itself`` is the order of a model that ranks alone (`solo.alone`).

    Returns
    -------
    tuple
        Comparisons by policy, and the baselines left out with the reason in a sentence.
    """
    truths = {policy: only_new(now, real) if policy == NEW else real for policy in policies}
    rows = np.flatnonzero(np.sum([np.diff(one.indptr) for one in truths.values()], axis=0) > 0)
    scores, left_out = _scores(trained, now, policies, by_itself)
    lists = rank(now, rows, scores, k=k, progress=progress)
    names = dict.fromkeys(name for name, _ in scores)
    made = {}
    for policy, truth in truths.items():
        counted = np.diff(truth.indptr)[rows] > 0
        if counted.any():
            kept = {
                name: [one for one, here in zip(lists[name, policy], counted, strict=True) if here]
                for name in names
            }
            made[policy] = _compared(now, truth, rows[counted], kept, k)
    return made, left_out


def _compared(
    now: Moment, truth: csr_matrix, rows: np.ndarray, lists: Mapping[str, list[np.ndarray]], k: int
) -> Compared:
    bought = bought_by(truth, rows)
    described = _describer(now, rows)
    sold = now.scene.history.customer[now.scene.history.bought > 0]
    return Compared(
        {name: ranking(mine, bought, k=k, items=now.size[1]) for name, mine in lists.items()},
        {name: described(mine) for name, mine in lists.items()},
        np.bincount(sold, minlength=now.size[0])[rows],
        np.nan_to_num(now.scene.people[rows, PERSON.index("quiet")], nan=np.inf),
    )


def _scores(
    trained: TrainedRecommender,
    now: Moment,
    policies: tuple[str, ...],
    by_itself: Score | None = None,
) -> tuple[dict[tuple[str, str], Score], dict[str, str]]:
    """Our model, what is popular, buying again and ALS; the candidates of a batch serve every policy."""
    stage = first_stage(now, batches=1)
    by_ranker: dict[int, Score] = {}
    scores: dict[tuple[str, str], Score] = {}
    for policy in policies:
        key = id(trained.ranking(policy))
        by_ranker.setdefault(key, by_itself or ordering(trained, now, policy, stage))
        scores[MODEL, policy] = by_ranker[key]
    baselines = {"popular": popular(now), "buy_it_again": buy_it_again(now)}
    left_out = {}
    known = len(np.unique(now.scene.seen.customer)), now.size[1]
    if known[0] >= FEWEST_CUSTOMERS and known[1] >= FEWEST_ITEMS:
        baselines["als"] = factors(now, trained.seed)
    else:
        left_out["als"] = (
            f"ALS takes {FEWEST_CUSTOMERS} customers with a history and {FEWEST_ITEMS} items bought by several; "
            f"there are {known[0]} and {known[1]}."
        )
    rivals = {(name, policy): score for name, score in baselines.items() for policy in policies}
    return scores | rivals, left_out


def _describer(
    now: Moment, rows: np.ndarray
) -> Callable[[list[np.ndarray]], dict[str, float | None]]:
    """Novelty, diversity and calibration of lists of these customers."""
    category = now.learned.shelf.groups["category"]
    seen = now.scene.seen
    code = np.where(now.scene.place >= 0, category[now.scene.place], -1)[seen.item]
    bought = (seen.days > 0) & (code >= 0)
    shape = (now.size[0], int(category.max(initial=-1)) + 1)
    days = seen.days[bought].astype(float)
    tastes = csr_matrix((days, (seen.customer[bought], code[bought])), shape=shape)[rows]
    customers = len(np.unique(seen.customer[seen.days > 0]))
    buyers = now.learned.shelf.fact("buyers")

    def described(lists: list[np.ndarray]) -> dict[str, float | None]:
        return beyond(
            lists, buyers=buyers, customers=customers, category=category, tastes=tastes
        ).as_dict()

    return described


def _told(compared: Compared, seed: int) -> dict[str, Any]:
    """One policy's figures: of all, of the quarter of customers silent longest, and by activity."""
    found = compared.found
    ours = found[MODEL]
    quiet = np.argsort(-compared.quiet, kind="stable")[: max(ours.customers // 4, 1)]
    rivals = [name for name in found if name != MODEL]
    best = max(rivals, key=lambda name: found[name].ndcg)
    gained = ours.each["ndcg"] - found[best].each["ndcg"]
    return {
        "customers": ours.customers,
        "metrics": _metrics(compared, MODEL),
        "baselines": {name: _metrics(compared, name) for name in rivals},
        "hit_rate": ours.hit_rate,
        "intervals": {name: ours.interval(name, seed=seed) for name in ACCURACY},
        "over_best_baseline": {
            "baseline": best,
            "ndcg": float(gained.mean()),
            "interval": interval(gained, seed=seed),
        },
        "at_risk": {name: float(one.each["ndcg"][quiet].mean()) for name, one in found.items()},
        "at_risk_customers": len(quiet),
        "by_activity": _by_activity(compared),
    }


def _metrics(compared: Compared, name: str) -> dict[str, float | None]:
    one = compared.found[name]
    return {**one.as_dict(), "hit_rate": one.hit_rate, **compared.described[name]}


def _by_activity(compared: Compared) -> dict[str, dict[str, float]]:
    """NDCG by how much customers had bought: ``{"1-9": {"customers": …, "model": …, …}}``; groups without anybody are left out."""
    group = np.searchsorted(ACTIVITY, compared.purchases, side="right") - 1
    ends = [*(str(begin - 1) for begin in ACTIVITY[1:]), ""]
    names = [
        f"{begin}+" if not end else end if str(begin) == end else f"{begin}-{end}"
        for begin, end in zip(ACTIVITY, ends, strict=True)
    ]
    return {
        name: {
            "customers": int((group == number).sum()),
            **{
                who: float(one.each["ndcg"][group == number].mean())
                for who, one in compared.found.items()
            },
        }
        for number, name in enumerate(names)
        if (group == number).any()
    }


def standing(lake: "Lake", trained: TrainedRecommender, at: datetime) -> Moment:
    """All customers as they stood at a moment, in front of what the recommender has learned."""
    history = weighted(read(lake, at), trained.worth)
    moment = history.at(at)
    place = positions(trained.items, history.items)
    scene = Scene(trained.learned.shelf, history, pairs(history, moment), moment, place)
    return Moment(trained.learned, scene)


def ordering(
    trained: TrainedRecommender, now: Moment, policy: str, stage: FirstStage | None = None
) -> Score:
    """How this recommender ranks under a policy."""
    ranker = trained.ranking(policy)
    return ranked(now, ranker, stage) if ranker is not None else mixed(now)
