"""Train rankers on past horizons and select kinds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, part, silent
from retention.recommend.catalogue import Catalogue
from retention.recommend.evaluation_context import (
    BATCH,
    BOTH,
    NEW,
    POLICIES,
    FirstStage,
    K,
    RankingKey,
    Scorer,
    Snapshot,
    first_purchases,
    first_stage,
    ground_truth,
    learn_snapshot,
    popularity_baseline,
    purchased_items,
    rank_items,
    repeat_baseline,
    two_stage_scorers,
)
from retention.recommend.history import History
from retention.recommend.ranking.features import Examples
from retention.recommend.ranking.ranker import Ranker, fit
from retention.recommend.ranking_metrics import RankingMetrics, ranking_metrics
from retention.text import gettext

MAX_HORIZONS = 3  # for training; a fourth added nothing on Complete Journey
MIN_CUSTOMERS_IN_HORIZON = 40  # customers with purchases
NEGATIVE_SAMPLE_SHARE = 0.15  # share of the candidates without purchase that is kept


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Hold the options of a training.

    Parameters
    ----------
    horizon_days, seed : int
    model : str
        Name of a model, or "auto".
    min_buyers : int
        Buyers that an item needs.
    items : Catalogue
    """

    horizon_days: int
    seed: int
    model: str
    min_buyers: int
    items: Catalogue


@dataclass(frozen=True, slots=True)
class PastWindow:
    """Hold a past horizon.

    Parameters
    ----------
    start : int
        First day, since 1970.
    snapshot : Snapshot
        Data before the first day.
    purchases : csr_matrix (customers × items)
        Purchases in the window.
    active : ndarray of int
        Customers with a history who bought in the window.
    """

    start: int
    snapshot: Snapshot
    purchases: csr_matrix
    active: np.ndarray


def past_window(
    history: History, end: int, options: TrainingOptions, progress: Progress = silent
) -> PastWindow | None:
    """Rebuild the horizon before day ``end`` begins.

    Parameters
    ----------
    history : History
    end : int
        Day since 1970, exclusive.
    options : TrainingOptions
    progress : Progress

    Returns
    -------
    PastWindow or None
        None without any event before the window.
    """
    start = end - options.horizon_days
    past = history.before(start)
    if not len(past.day):
        return None
    snapshot = learn_snapshot(
        past,
        float(start),
        options.items,
        min_buyers=options.min_buyers,
        model=options.model,
        seed=options.seed,
        progress=progress,
    )
    purchases = ground_truth(snapshot, history, start, end)
    return PastWindow(start, snapshot, purchases, np.flatnonzero(np.diff(purchases.indptr) > 0))


def past_horizons(history: History, end: int, options: TrainingOptions) -> list[int]:
    """List the ends of the earlier horizons, oldest first.

    Horizons count as long as `MIN_CUSTOMERS_IN_HORIZON` known customers bought in them.

    Parameters
    ----------
    history : History
    end : int
        Day since 1970; the newest horizon ends at its first midnight.
    options : TrainingOptions

    Returns
    -------
    list of int
    """
    ends: list[int] = []
    while len(ends) < MAX_HORIZONS - 1:
        start = end - options.horizon_days
        known = np.unique(history.customer[(history.day < start) & (history.known < start)])
        buyers = np.unique(history.between(start, end)[0])
        if np.isin(buyers, known).sum() < MIN_CUSTOMERS_IN_HORIZON:
            break
        ends.insert(0, end)
        end = start
    return ends


def collect_examples(
    window: PastWindow,
    rows: np.ndarray,
    seed: int,
    *,
    stage: FirstStage | None = None,
    progress: Progress = silent,
) -> Examples:
    """Collect candidates of customers with their outcome.

    Items that were not bought are sampled and weighted up. A customer's weight is 1/√purchases,
    which limits the influence of very active customers.

    Parameters
    ----------
    window : PastWindow
    rows : ndarray of int
        Customers.
    seed : int
    stage : FirstStage, optional
        May cache candidates of the same customers in the same batches.
    progress : Progress

    Returns
    -------
    Examples
    """
    stage = stage or first_stage(window.snapshot, batches=1)
    rng = np.random.default_rng(seed)
    views, labels, weights = [], [], []
    purchases = np.diff(window.purchases.indptr)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        candidates = stage(batch)
        bought = np.asarray(window.purchases[batch][candidates.row, candidates.column]).ravel() > 0
        is_kept = bought | (rng.random(len(bought)) < NEGATIVE_SAMPLE_SHARE)
        views.append(candidates.view[is_kept])
        labels.append(bought[is_kept])
        weights.append(
            np.where(bought, 1, 1 / NEGATIVE_SAMPLE_SHARE)[is_kept]
            / np.sqrt(purchases[batch][candidates.row[is_kept]])
        )
        progress(start + len(batch), len(rows), gettext("Gathering candidates to learn from"))
    return Examples(
        np.concatenate(views), np.concatenate(labels), np.concatenate(weights), len(rows)
    )


MIN_CUSTOMERS_TO_FIT = 40  # customers with purchases in the last horizon: below, nothing is fitted
MIN_CUSTOMERS_FOR_TREES = 100  # customers; below, only the logistic regression is fitted
MIN_ITEMS_FOR_TREES = 50  # below, only the logistic regression is fitted
MIN_NEW_PURCHASES = 1_000  # purchases of new items: below, new items have no ranker of their own
CUSTOMERS_PER_HORIZON = 1_000
EVALUATED_PER_HORIZON = 2 * BATCH  # of these customers
TRIAL_EXAMPLES = 30_000  # for the ranker that is only evaluated
CONFIDENCE = 0.95  # share of bootstrap draws; the best of several is easily ahead by chance
BASELINES = {"popular": popularity_baseline, "buy_it_again": repeat_baseline}


@dataclass(frozen=True, slots=True)
class RankerSet:
    """Hold rankers per policy, metrics and a note.

    Parameters
    ----------
    rankers : dict
        RankingKey → ranker; empty if the mixture ranks.
    metrics : dict
        Evaluation on the last horizon.
    note : str
        Reason for a simpler model, in a sentence.
    """

    rankers: dict[str, Ranker] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    note: str = ""


Evaluation = dict[str, dict[str, RankingMetrics]]  # policy → name → ranking of the same customers


def learn_to_rank(
    history: History, end: int, options: TrainingOptions, progress: Progress = silent
) -> RankerSet:
    """Fit rankers on the last horizons.

    The kind of each ranker is selected, too. The newest horizon is ranked by trial rankers of the
    earlier ones, then used for training as well (prequential evaluation, Dawid 1984). Customers
    held out of one horizon would favour models with many parameters, which have seen the sales of
    that horizon.

    Parameters
    ----------
    history : History
    end : int
        Day since 1970; the last horizon ends at its first midnight.
    options : TrainingOptions
    progress : Progress

    Returns
    -------
    RankerSet
    """
    last = past_window(history, end, options, part(progress, 0, 4))
    if last is None or len(last.active) < MIN_CUSTOMERS_TO_FIT:
        note = gettext(
            "The mixture is our default: learning how to rank takes {min_customers} customers who "
            "bought in the last {horizon_days} days and before."
        )
        note = note.format(min_customers=MIN_CUSTOMERS_TO_FIT, horizon_days=options.horizon_days)
        return RankerSet(note=f" {note}")
    logistic_only = (
        len(last.active) < MIN_CUSTOMERS_FOR_TREES or last.snapshot.size[1] < MIN_ITEMS_FOR_TREES
    )
    ends = [*past_horizons(history, last.start, options), end]
    collected: Examples | None = None
    evaluation: Evaluation | None = None
    had_own_ranker = False  # whether new items had a ranker of their own
    for number, window_end in enumerate(ends, start=1):
        step = part(part(progress, 1, 4, span=2), number - 1, len(ends))
        window = last if window_end == end else past_window(history, window_end, options, step)
        if window is None or not len(window.active):
            continue
        rows = np.random.default_rng(options.seed + number).permutation(window.active)[
            :CUSTOMERS_PER_HORIZON
        ]
        stage = first_stage(window.snapshot)
        if window_end == end and collected is not None and collected.has_both_outcomes:
            trial = _fit_rankers(
                collected.sample(TRIAL_EXAMPLES, options.seed),
                options.seed,
                logistic_only,
                own_ranker_for_new=_has_enough_new_items(collected, logistic_only),
            )
            evaluation = _evaluate(window, rows[:EVALUATED_PER_HORIZON], trial, stage)
            had_own_ranker = trial[NEW] is not trial[BOTH]
        new_examples = collect_examples(
            window, rows, options.seed + number, stage=stage, progress=step
        )
        collected = new_examples if collected is None else collected.concat(new_examples)
    if collected is None or not collected.has_both_outcomes:
        note = gettext(
            "The mixture is our default: nothing that was bought could have been foreseen."
        )
        return RankerSet(note=f" {note}")
    rankers = _fit_rankers(
        collected,
        options.seed,
        logistic_only,
        own_ranker_for_new=_has_enough_new_items(collected, logistic_only),
    )
    if evaluation is None:
        evaluation = _evaluate_held_out(last, options, logistic_only)
    is_comparable = {BOTH: True, NEW: had_own_ranker == (rankers[NEW] is not rankers[BOTH])}
    rankers = {
        policy: ranker.with_kind(select_kind(evaluation[policy], ranker.kinds))
        if is_comparable[policy]
        else ranker
        for policy, ranker in rankers.items()
    }
    progress(4, 4, gettext("Learning to rank"))
    return RankerSet(
        rankers,
        _metrics(evaluation[BOTH], rankers[BOTH].kind),
        _logistic_only_note(last, options) if logistic_only else "",
    )


def _has_enough_new_items(examples: Examples, logistic_only: bool) -> bool:
    """Check for enough purchases of new items.

    They decide on a ranker of their own.
    """
    return not logistic_only and int(examples.bought[examples.is_new].sum()) >= MIN_NEW_PURCHASES


def _fit_rankers(
    examples: Examples, seed: int, logistic_only: bool, *, own_ranker_for_new: bool
) -> dict[str, Ranker]:
    """Fit a ranker for each policy.

    Signals that separate new items differ from those that predict a repeat purchase.
    """
    ranker = fit(examples, seed=seed, logistic_only=logistic_only)
    new = examples.new if own_ranker_for_new else None
    return {
        BOTH: ranker,
        NEW: fit(new, seed=seed) if new is not None and new.has_both_outcomes else ranker,
    }


def _evaluate(
    window: PastWindow, rows: np.ndarray, rankers: Mapping[str, Ranker], stage: FirstStage
) -> Evaluation:
    """Evaluate rankers and baselines on a horizon.

    Parameters
    ----------
    window : PastWindow
    rows : ndarray of int
        Customers that the rankers were not fitted on.
    rankers : mapping
        RankingKey → ranker.
    stage : FirstStage
    """
    snapshot = window.snapshot
    baselines = {name: baseline(snapshot) for name, baseline in BASELINES.items()}
    distinct = {id(ranker): ranker for ranker in rankers.values()}  # the policies may share one
    by_kind = {key: two_stage_scorers(snapshot, ranker, stage) for key, ranker in distinct.items()}
    scores: dict[RankingKey, Scorer] = {}
    for policy, ranker in rankers.items():
        scores |= {(kind, policy): score for kind, score in by_kind[id(ranker)].items()}
        scores |= {(name, policy): score for name, score in baselines.items()}
    lists = rank_items(snapshot, rows, scores)
    bought = {
        BOTH: purchased_items(window.purchases, rows),
        NEW: purchased_items(first_purchases(snapshot, window.purchases), rows),
    }
    evaluation: Evaluation = {policy: {} for policy in rankers}
    for name, policy in scores:
        evaluation[policy][name] = ranking_metrics(
            lists[name, policy], bought[policy], k=K, items=snapshot.size[1]
        )
    return evaluation


def _evaluate_held_out(
    window: PastWindow, options: TrainingOptions, logistic_only: bool
) -> Evaluation:
    """Evaluate on a quarter of the customers.

    This is needed with a single horizon. The rankers are fitted on the other customers.
    """
    rows = np.random.default_rng(options.seed).permutation(window.active)[:CUSTOMERS_PER_HORIZON]
    test, training = np.split(rows, [len(rows) // 4])
    training_examples = collect_examples(window, training, options.seed)
    if not training_examples.has_both_outcomes:
        return {policy: {} for policy in POLICIES}
    return _evaluate(
        window,
        test,
        _fit_rankers(training_examples, options.seed, logistic_only, own_ranker_for_new=False),
        first_stage(window.snapshot),
    )


def select_kind(
    evaluation: Mapping[str, RankingMetrics], kinds: Sequence[str], draws: int = 400
) -> str:
    """Select the kind of ranker by an evaluation on the newest horizon.

    The first kind is the default. Another one must be better in 95 of 100 bootstrap draws of the
    customers.

    Parameters
    ----------
    evaluation : mapping
        Kind → ranking of the same customers.
    kinds : sequence of str
    draws : int
        Bootstrap draws.

    Returns
    -------
    str
    """
    default = kinds[0]
    if not evaluation or not evaluation[default].customers:
        return default
    gains = {
        kind: evaluation[kind].each["ndcg"] - evaluation[default].each["ndcg"] for kind in kinds[1:]
    }
    if not gains:
        return default
    best = max(gains, key=lambda kind: float(gains[kind].mean()))
    gain, rng = gains[best], np.random.default_rng(0)
    ahead = np.mean([gain[rng.integers(0, len(gain), len(gain))].mean() > 0 for _ in range(draws)])
    return best if ahead > CONFIDENCE else default


def _metrics(rankings: Mapping[str, RankingMetrics], kind: str) -> dict[str, Any]:
    """Report metrics of a kind and baselines."""
    if not rankings:
        return {}
    baselines = {name: rankings[name].as_dict() for name in BASELINES}
    return {
        **rankings[kind].as_dict(),
        "customers": rankings[kind].customers,
        "baselines": baselines,
    }


def _logistic_only_note(last: PastWindow, options: TrainingOptions) -> str:
    """Explain the lack of trees and nets."""
    note = gettext(
        "Ranked by a few strong signals: trees and nets take {min_customers} customers who bought "
        "in the last {horizon_days} days and {min_items} items bought by several; there are "
        "{customers} and {items}."
    )
    return " " + note.format(
        min_customers=MIN_CUSTOMERS_FOR_TREES,
        horizon_days=options.horizon_days,
        min_items=MIN_ITEMS_FOR_TREES,
        customers=len(last.active),
        items=last.snapshot.size[1],
    )
