"""Evaluate recommendations and baselines on later purchases."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.errors import BadInput, TooLittleData
from retention.lake.coverage import check_label_window
from retention.progress import Progress, part, silent
from retention.recommend.artefact import TrainedRecommender
from retention.recommend.evaluation.evaluation_context import (
    BASELINES,
    MIN_CUSTOMERS,
    MIN_ITEMS,
    NEW,
    POLICIES,
    K,
    RankingKey,
    Scorer,
    Snapshot,
    als_baseline,
    first_purchases,
    first_stage,
    mixture_scorer,
    purchased_items,
    rank_items,
    two_stage_scorer,
)
from retention.recommend.evaluation.ranking_metrics import (
    ACCURACY,
    RankingMetrics,
    interval,
    list_properties,
    ranking_metrics,
)
from retention.recommend.event_weights import apply_weights
from retention.recommend.history import pairs, read
from retention.recommend.matrices import positions
from retention.recommend.ranking.features import CUSTOMER_FEATURES, Interactions
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

    `new_items_only`: leave items a customer bought before out of lists and truth. Otherwise
    ``new_items`` holds those figures, too.
    Raises `BadInput`: if ``k`` or ``min_buyers`` is below 1, or the data end before the horizon.
    """
    if k < 1 or min_buyers < 1:
        text = gettext("k is {k} and min-buyers {min_buyers}; both must be at least 1.")
        raise BadInput(text.format(k=k, min_buyers=min_buyers))
    check_label_window(lake, cutoff, horizon_days)
    started = time.perf_counter()
    trained = train(
        lake,
        cutoff=cutoff,
        horizon_days=horizon_days,
        seed=seed,
        model=model,
        min_buyers=min_buyers,
        progress=part(progress, 0, 3, span=2),
    )
    end_of_training = time.perf_counter()
    if not len(trained.items):
        text = gettext("No item was bought by {min_buyers} customers before {local:%d %b %Y}.")
        raise TooLittleData(text.format(min_buyers=min_buyers, local=lake.local(cutoff)))
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
    single_model = single_model_scorer(lake, snapshot) if trained.alone else None
    scorers, left_out = _scorers(trained, snapshot, policies, single_model)
    comparisons = compare_policies(snapshot, truth, scorers, k, part(progress, 2, 3))
    return {
        **_report(comparisons[policies[0]], seed),
        "items": len(trained.items),
        "new_items": _report(comparisons[NEW], seed) if {*POLICIES} == {*comparisons} else None,
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
            "train": round(end_of_training - started, 3),
            "score": round(time.perf_counter() - began, 3),
        },
    }


@dataclass(frozen=True, slots=True)
class PolicyComparison:
    """Hold the metrics of all scorers under a policy.

    `purchases`, `quiet`: purchases before the cutoff, and days since the last one.
    """

    rankings: Mapping[str, RankingMetrics]
    properties: Mapping[str, Mapping[str, float | None]]
    purchases: np.ndarray
    quiet: np.ndarray


def compare_policies(
    snapshot: Snapshot,
    truth: csr_matrix,
    scorers: Mapping[RankingKey, Scorer],
    k: int,
    progress: Progress,
) -> dict[str, PolicyComparison]:
    """Compare the scorers under each policy. Policies without customers are missing."""
    truths = {
        policy: first_purchases(snapshot, truth) if policy == NEW else truth
        for policy in dict.fromkeys(policy for _, policy in scorers)
    }
    buyers = [np.diff(purchases.indptr) for purchases in truths.values()]
    rows = np.flatnonzero(np.sum(buyers, axis=0) > 0)
    lists = rank_items(snapshot, rows, scorers, k=k, progress=progress)
    comparisons = {}
    for policy, purchases in truths.items():
        has_truth = np.diff(purchases.indptr)[rows] > 0
        if has_truth.any():
            kept = {
                name: list(compress(ranked, has_truth))
                for (name, list_policy), ranked in lists.items()
                if list_policy == policy
            }
            comparisons[policy] = _compare(snapshot, purchases, rows[has_truth], kept, k)
    return comparisons


def _compare(
    snapshot: Snapshot,
    truth: csr_matrix,
    rows: np.ndarray,
    lists: Mapping[str, list[np.ndarray]],
    k: int,
) -> PolicyComparison:
    purchases = purchased_items(truth, rows)
    describe = _property_function(snapshot, rows)
    history, people = snapshot.interactions.history, snapshot.interactions.people
    buyers = history.customer[history.bought > 0]
    return PolicyComparison(
        {
            name: ranking_metrics(name_lists, purchases, k=k, items=snapshot.size[1])
            for name, name_lists in lists.items()
        },
        {name: describe(name_lists) for name, name_lists in lists.items()},
        np.bincount(buyers, minlength=snapshot.size[0])[rows],
        np.nan_to_num(people[rows, CUSTOMER_FEATURES.index("quiet")], nan=np.inf),
    )


def _scorers(
    trained: TrainedRecommender,
    snapshot: Snapshot,
    policies: tuple[str, ...],
    single_model: Scorer | None,
) -> tuple[dict[RankingKey, Scorer], dict[str, str]]:
    """Build scorers of the model and baselines, and the reason for each baseline left out.

    Policies share a batch's candidates.
    """
    stage = first_stage(snapshot, batches=1)
    by_ranker: dict[int, Scorer] = {}
    scorers: dict[RankingKey, Scorer] = {}
    for policy in policies:
        ranker = trained.ranker(policy)
        if id(ranker) not in by_ranker:
            if ranker is None:
                mixture_or_ranker = mixture_scorer(snapshot)
            else:
                mixture_or_ranker = two_stage_scorer(snapshot, ranker, stage)
            by_ranker[id(ranker)] = single_model or mixture_or_ranker
        scorers[MODEL, policy] = by_ranker[id(ranker)]
    baselines = {name: baseline(snapshot) for name, baseline in BASELINES.items()}
    left_out = {}
    customers, items = len(np.unique(snapshot.interactions.seen.customer)), snapshot.size[1]
    if customers >= MIN_CUSTOMERS and items >= MIN_ITEMS:
        baselines["als"] = als_baseline(snapshot, trained.seed)
    else:
        left_out["als"] = gettext(
            "ALS takes {min_customers} customers with a history and {min_items} items bought by "
            "several; there are {customers} and {items}."
        ).format(min_customers=MIN_CUSTOMERS, min_items=MIN_ITEMS, customers=customers, items=items)
    for name, scorer in baselines.items():
        scorers |= dict.fromkeys(((name, policy) for policy in policies), scorer)
    return scorers, left_out


def _property_function(
    snapshot: Snapshot, rows: np.ndarray
) -> Callable[[list[np.ndarray]], dict[str, float | None]]:
    """Build a function that computes list properties."""
    stats, interactions = snapshot.sources.item_stats, snapshot.interactions
    category, totals = stats.groups["category"], interactions.seen
    place = interactions.place
    code = np.where(place >= 0, category[place], -1)[totals.item]
    is_purchase = (totals.days > 0) & (code >= 0)
    shape = (snapshot.size[0], int(category.max(initial=-1)) + 1)
    days = totals.days[is_purchase].astype(float)
    entries = days, (totals.customer[is_purchase], code[is_purchase])
    tastes = csr_matrix(entries, shape=shape)[rows]
    customers = len(np.unique(totals.customer[totals.days > 0]))
    return lambda lists: list_properties(lists, stats.column("buyers"), customers, category, tastes)


def _report(comparison: PolicyComparison, seed: int) -> dict[str, Any]:
    """Report one policy. Covers all customers, the quietest quarter, and groups by activity."""
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
    ndcg = {scorer: ranking.each["ndcg"] for scorer, ranking in comparison.rankings.items()}
    figures = {}
    for number, name in enumerate(names):
        inside = group == number
        if inside.any():
            means = {scorer: float(values[inside].mean()) for scorer, values in ndcg.items()}
            figures[name] = {"customers": int(inside.sum()), **means}
    return figures


def snapshot_at(lake: "Lake", trained: TrainedRecommender, at: datetime) -> Snapshot:
    """Build a snapshot of all customers."""
    history = apply_weights(read(lake, at), trained.event_weights)
    moment = history.at(at)
    place = positions(trained.items, history.items)
    interactions = Interactions(
        trained.sources.item_stats, history, pairs(history, moment), moment, place
    )
    return Snapshot(trained.sources, interactions)
