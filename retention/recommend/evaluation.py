"""Evaluate recommendations and baselines on later purchases."""

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
from retention.recommend.evaluation_context import (
    BOTH,
    MIN_CUSTOMERS,
    MIN_ITEMS,
    NEW,
    POLICIES,
    FirstStage,
    K,
    Scorer,
    Snapshot,
    als_baseline,
    first_purchases,
    first_stage,
    mixture_scorer,
    popularity_baseline,
    purchased_items,
    rank_items,
    repeat_baseline,
    two_stage_scorer,
)
from retention.recommend.event_weights import apply_weights
from retention.recommend.history import pairs, read
from retention.recommend.matrices import positions
from retention.recommend.ranking.features import CUSTOMER_FEATURES, Interactions
from retention.recommend.ranking_metrics import (
    ACCURACY,
    RankingMetrics,
    interval,
    list_properties,
    ranking_metrics,
)
from retention.recommend.training import MIN_BUYERS, single_model_scorer, train, window_truth
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

ACTIVITY = (0, 1, 10, 100)  # lower bounds of purchases before the cutoff
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
    """Train before a cutoff and evaluate after it.

    Returns the JSON of ``retention evaluate recommend``. The candidates are the items with
    ``min_buyers`` before the cutoff that the catalogue does not bar. The customers have a history
    and bought a candidate in ``[cutoff, cutoff + horizon)``.

    Parameters
    ----------
    lake : Lake
    cutoff : datetime
    horizon_days : int
    k : int
        Length of a list.
    min_buyers : int
        Fewest buyers of an item before the cutoff.
    new_items_only : bool
        Leave items a customer bought before out of lists and truth. Otherwise ``new_items`` holds
        those figures, too.
    model : str
        As in `train`.
    seed : int
    progress : Progress

    Returns
    -------
    dict

    Raises
    ------
    BadInput
        If ``k`` or ``min_buyers`` is below 1, or the data end before the horizon.
    TooLittleData
        If there is no history, no such item or no such customer.
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
    training_seconds = time.perf_counter() - began
    if not len(trained.items):
        raise TooLittleData(
            gettext("No item was bought by {min_buyers} customers before {local:%d %b %Y}.").format(
                min_buyers=min_buyers, local=lake.local(cutoff)
            )
        )
    snapshot = snapshot_at(lake, trained, cutoff)
    truth = window_truth(lake, snapshot, cutoff, horizon_days)
    if not (first_purchases(snapshot, truth) if new_items_only else truth).nnz:
        raise TooLittleData(
            gettext(
                "Nobody with a history bought any of {count:,} items in the {horizon_days} "
                "days from {local:%d %b %Y}; choose an earlier cutoff."
            ).format(count=len(trained.items), horizon_days=horizon_days, local=lake.local(cutoff))
        )
    began = time.perf_counter()
    policies = (NEW,) if new_items_only else POLICIES
    comparisons, left_out = compare_policies(
        trained,
        snapshot,
        truth,
        policies,
        k=k,
        single_model=single_model_scorer(lake, snapshot) if trained.alone else None,
        progress=part(progress, 2, 3),
    )
    return {
        **_report(comparisons[policies[0]], seed),
        "items": len(trained.items),
        "new_items": _report(comparisons[NEW], seed)
        if BOTH in comparisons and NEW in comparisons
        else None,
        "left_out": left_out,
        "tuned": {
            "cutoff": (cutoff - timedelta(days=horizon_days)).isoformat(),
            "until": cutoff.isoformat(),
            "how": trained.kinds[policies[0]],
        },
        "model": trained.estimator,
        "parameters": trained.parameters,
        "rung": trained.rung,
        "seconds": {
            "train": round(training_seconds, 3),
            "score": round(time.perf_counter() - began, 3),
        },
    }


@dataclass(frozen=True, slots=True)
class PolicyComparison:
    """Hold the metrics of all scorers under a policy.

    Parameters
    ----------
    rankings : mapping of str to RankingMetrics
    properties : mapping of str to dict
        Novelty, diversity and calibration.
    purchases, quiet : ndarray (customers,)
        Purchases before the cutoff, and days since the last one.
    """

    rankings: Mapping[str, RankingMetrics]
    properties: Mapping[str, Mapping[str, float | None]]
    purchases: np.ndarray
    quiet: np.ndarray


def compare_policies(
    trained: TrainedRecommender,
    snapshot: Snapshot,
    truth: csr_matrix,
    policies: tuple[str, ...],
    *,
    k: int,
    single_model: Scorer | None = None,
    progress: Progress = silent,
) -> tuple[dict[str, PolicyComparison], dict[str, str]]:
    """Compare the scorers under each policy.

    Parameters
    ----------
    trained : TrainedRecommender
    snapshot : Snapshot
    truth : csr_matrix (customers × items)
    policies : tuple of str
    k : int
    single_model : Scorer, optional
        Scorer of a single model, see `single_model_scorer`.
    progress : Progress

    Returns
    -------
    tuple
        Comparisons by policy, and the reason for each baseline left out. Policies without customers
        are missing.
    """
    truths = {
        policy: first_purchases(snapshot, truth) if policy == NEW else truth for policy in policies
    }
    rows = np.flatnonzero(
        np.sum([np.diff(ranked.indptr) for ranked in truths.values()], axis=0) > 0
    )
    scorers, left_out = _scorers(trained, snapshot, policies, single_model)
    lists = rank_items(snapshot, rows, scorers, k=k, progress=progress)
    names = dict.fromkeys(name for name, _ in scorers)
    comparisons = {}
    for policy, policy_truth in truths.items():
        has_truth = np.diff(policy_truth.indptr)[rows] > 0
        if has_truth.any():
            policy_lists = {
                name: [
                    ranked
                    for ranked, is_kept in zip(lists[name, policy], has_truth, strict=True)
                    if is_kept
                ]
                for name in names
            }
            comparisons[policy] = _compare(snapshot, policy_truth, rows[has_truth], policy_lists, k)
    return comparisons, left_out


def _compare(
    snapshot: Snapshot,
    truth: csr_matrix,
    rows: np.ndarray,
    lists: Mapping[str, list[np.ndarray]],
    k: int,
) -> PolicyComparison:
    purchases = purchased_items(truth, rows)
    describe = _property_function(snapshot, rows)
    buyers = snapshot.interactions.history.customer[snapshot.interactions.history.bought > 0]
    return PolicyComparison(
        {
            name: ranking_metrics(name_lists, purchases, k=k, items=snapshot.size[1])
            for name, name_lists in lists.items()
        },
        {name: describe(name_lists) for name, name_lists in lists.items()},
        np.bincount(buyers, minlength=snapshot.size[0])[rows],
        np.nan_to_num(
            snapshot.interactions.people[rows, CUSTOMER_FEATURES.index("quiet")], nan=np.inf
        ),
    )


def _scorers(
    trained: TrainedRecommender,
    snapshot: Snapshot,
    policies: tuple[str, ...],
    single_model: Scorer | None = None,
) -> tuple[dict[tuple[str, str], Scorer], dict[str, str]]:
    """Build scorers of the model and baselines.

    Policies share a batch's candidates.
    """
    stage = first_stage(snapshot, batches=1)
    by_ranker: dict[int, Scorer] = {}
    scorers: dict[tuple[str, str], Scorer] = {}
    for policy in policies:
        key = id(trained.ranker(policy))
        by_ranker.setdefault(key, single_model or policy_scorer(trained, snapshot, policy, stage))
        scorers[MODEL, policy] = by_ranker[key]
    baselines = {
        "popular": popularity_baseline(snapshot),
        "buy_it_again": repeat_baseline(snapshot),
    }
    left_out = {}
    size = len(np.unique(snapshot.interactions.seen.customer)), snapshot.size[1]
    if size[0] >= MIN_CUSTOMERS and size[1] >= MIN_ITEMS:
        baselines["als"] = als_baseline(snapshot, trained.seed)
    else:
        left_out["als"] = gettext(
            "ALS takes {min_customers} customers with a history and {min_items} items bought by "
            "several; there are {customers} and {items}."
        ).format(min_customers=MIN_CUSTOMERS, min_items=MIN_ITEMS, customers=size[0], items=size[1])
    baseline_scorers = {
        (name, policy): scorer for name, scorer in baselines.items() for policy in policies
    }
    return scorers | baseline_scorers, left_out


def _property_function(
    snapshot: Snapshot, rows: np.ndarray
) -> Callable[[list[np.ndarray]], dict[str, float | None]]:
    """Build a function that computes list properties."""
    category = snapshot.sources.item_stats.groups["category"]
    totals = snapshot.interactions.seen
    code = np.where(snapshot.interactions.place >= 0, category[snapshot.interactions.place], -1)[
        totals.item
    ]
    is_purchase = (totals.days > 0) & (code >= 0)
    shape = (snapshot.size[0], int(category.max(initial=-1)) + 1)
    days = totals.days[is_purchase].astype(float)
    tastes = csr_matrix((days, (totals.customer[is_purchase], code[is_purchase])), shape=shape)[
        rows
    ]
    customers = len(np.unique(totals.customer[totals.days > 0]))
    buyers = snapshot.sources.item_stats.column("buyers")

    def describe(lists: list[np.ndarray]) -> dict[str, float | None]:
        return list_properties(
            lists, buyers=buyers, customers=customers, category=category, tastes=tastes
        ).as_dict()

    return describe


def _report(comparison: PolicyComparison, seed: int) -> dict[str, Any]:
    """Report one policy.

    Covers all customers, the quietest quarter, and groups by activity.
    """
    rankings = comparison.rankings
    own = rankings[MODEL]
    quiet = np.argsort(-comparison.quiet, kind="stable")[: max(own.customers // 4, 1)]
    baselines = [name for name in rankings if name != MODEL]
    best = max(baselines, key=lambda name: rankings[name].ndcg)
    gains = own.each["ndcg"] - rankings[best].each["ndcg"]
    return {
        "customers": own.customers,
        "metrics": _metrics(comparison, MODEL),
        "baselines": {name: _metrics(comparison, name) for name in baselines},
        "hit_rate": own.hit_rate,
        "intervals": {name: own.interval(name, seed=seed) for name in ACCURACY},
        "over_best_baseline": {
            "baseline": best,
            "ndcg": float(gains.mean()),
            "interval": interval(gains, seed=seed),
        },
        "at_risk": {
            name: float(ranking.each["ndcg"][quiet].mean()) for name, ranking in rankings.items()
        },
        "at_risk_customers": len(quiet),
        "by_activity": _by_activity(comparison),
    }


def _metrics(comparison: PolicyComparison, name: str) -> dict[str, float | None]:
    ranking = comparison.rankings[name]
    return {**ranking.as_dict(), "hit_rate": ranking.hit_rate, **comparison.properties[name]}


def _by_activity(comparison: PolicyComparison) -> dict[str, dict[str, float]]:
    """Compute NDCG by number of earlier purchases.

    The result is ``{"1-9": {"customers": …, "model": …}}``. Groups without customers are left out.
    """
    group = np.searchsorted(ACTIVITY, comparison.purchases, side="right") - 1
    ends = [*(str(begin - 1) for begin in ACTIVITY[1:]), ""]
    names = [
        f"{begin}+" if not end else end if str(begin) == end else f"{begin}-{end}"
        for begin, end in zip(ACTIVITY, ends, strict=True)
    ]
    return {
        name: {
            "customers": int((group == number).sum()),
            **{
                name_: float(ranking.each["ndcg"][group == number].mean())
                for name_, ranking in comparison.rankings.items()
            },
        }
        for number, name in enumerate(names)
        if (group == number).any()
    }


def snapshot_at(lake: "Lake", trained: TrainedRecommender, at: datetime) -> Snapshot:
    """Build a snapshot of all customers.

    Parameters
    ----------
    lake : Lake
    trained : TrainedRecommender
    at : datetime

    Returns
    -------
    Snapshot
    """
    history = apply_weights(read(lake, at), trained.event_weights)
    moment = history.at(at)
    place = positions(trained.items, history.items)
    interactions = Interactions(
        trained.sources.item_stats, history, pairs(history, moment), moment, place
    )
    return Snapshot(trained.sources, interactions)


def policy_scorer(
    trained: TrainedRecommender, snapshot: Snapshot, policy: str, stage: FirstStage | None = None
) -> Scorer:
    """Build the recommender's scorer under a policy.

    Parameters
    ----------
    trained : TrainedRecommender
    snapshot : Snapshot
    policy : str
    stage : FirstStage, optional

    Returns
    -------
    Scorer
    """
    ranker = trained.ranker(policy)
    return (
        two_stage_scorer(snapshot, ranker, stage)
        if ranker is not None
        else mixture_scorer(snapshot)
    )
