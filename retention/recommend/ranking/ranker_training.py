"""Train rankers on past horizons and select kinds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, part, silent
from retention.recommend.evaluation.evaluation_context import (
    BASELINES,
    BATCH,
    BOTH,
    NEW,
    POLICIES,
    FirstStage,
    RankingKey,
    Scorer,
    Snapshot,
    TrainingOptions,
    first_stage,
    ground_truth,
    learn_snapshot,
    measure_scorers,
    two_stage_scorers,
)
from retention.recommend.evaluation.ranking_metrics import RankingMetrics
from retention.recommend.history import History
from retention.recommend.ranking.features import Examples
from retention.recommend.ranking.ranker import Ranker, fit
from retention.text import gettext

MAX_HORIZONS = 3  # for training; a fourth added nothing on Complete Journey
MIN_CUSTOMERS_IN_HORIZON = 40  # customers with purchases
NEGATIVE_SAMPLE_SHARE = 0.15  # share of the candidates without purchase that is kept


@dataclass(frozen=True, slots=True)
class PastWindow:
    """Hold a past horizon.

    `start`: first day, since 1970.
    `snapshot`: data before the first day.
    """

    start: int
    snapshot: Snapshot
    purchases: csr_matrix
    active: np.ndarray


def past_window(
    history: History,
    end: int,
    options: TrainingOptions,
    progress: Progress = silent,
    learn: Callable[..., Snapshot | None] = learn_snapshot,
) -> PastWindow | None:
    """Rebuild the horizon before day ``end`` begins.

    `end`: day since 1970, exclusive.
    Returns: none without any event before the window, or if nothing can be learned from them.
    """
    start = end - options.horizon_days
    past = history.before(start)
    snapshot = learn(past, float(start), options, progress) if len(past.day) else None
    if snapshot is None:
        return None
    purchases = ground_truth(snapshot, history, start, end)
    return PastWindow(start, snapshot, purchases, np.flatnonzero(np.diff(purchases.indptr) > 0))


def past_horizons(history: History, end: int, options: TrainingOptions) -> list[int]:
    """List the ends of the earlier horizons, oldest first.

    Horizons count as long as `MIN_CUSTOMERS_IN_HORIZON` known customers bought in them.

    `end`: day since 1970; the newest horizon ends at its first midnight.
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
    """
    stage = stage or first_stage(window.snapshot)
    rng = np.random.default_rng(seed)
    views, labels, weights = [], [], []
    what = gettext("Gathering candidates to learn from")
    purchases = np.diff(window.purchases.indptr)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        candidates = stage(batch)
        bought = np.asarray(window.purchases[batch][candidates.row, candidates.column]).ravel() > 0
        is_kept = bought | (rng.random(len(bought)) < NEGATIVE_SAMPLE_SHARE)
        views.append(candidates.view[is_kept])
        labels.append(bought[is_kept])
        sampled = np.where(bought, 1, 1 / NEGATIVE_SAMPLE_SHARE)[is_kept]
        weights.append(sampled / np.sqrt(purchases[batch][candidates.row[is_kept]]))
        progress(start + len(batch), len(rows), what)
    view, bought, weight = map(np.concatenate, (views, labels, weights))
    return Examples(view, bought, weight, len(rows))


MIN_CUSTOMERS_TO_FIT = 40  # customers with purchases in the last horizon: below, nothing is fitted
MIN_CUSTOMERS_FOR_TREES = 100  # customers; below, only the logistic regression is fitted
MIN_ITEMS_FOR_TREES = 50  # below, only the logistic regression is fitted
MIN_NEW_PURCHASES = 1_000  # purchases of new items: below, new items have no ranker of their own
CUSTOMERS_PER_HORIZON = 1_000
EVALUATED_PER_HORIZON = 2 * BATCH  # of these customers
TRIAL_EXAMPLES = 30_000  # for the ranker that is only evaluated
DRAWS = 400  # of the bootstrap
CONFIDENCE = 0.95  # share of bootstrap draws; the best of several is easily ahead by chance


@dataclass(frozen=True, slots=True)
class RankerSet:
    """Hold rankers per policy, metrics and a note.

    `rankers`: RankingKey → ranker; empty if the mixture ranks.
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

    `end`: day since 1970; the last horizon ends at its first midnight.
    """
    last = past_window(history, end, options, part(progress, 0, 4))
    if last is None or len(last.active) < MIN_CUSTOMERS_TO_FIT:
        note = gettext(
            "The mixture is our default: learning how to rank takes {min_customers} customers who "
            "bought in the last {horizon_days} days and before."
        )
        note = note.format(min_customers=MIN_CUSTOMERS_TO_FIT, horizon_days=options.horizon_days)
        return RankerSet(note=f" {note}")
    seed = options.seed
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
        rows = _some_customers(window, seed + number)
        stage = first_stage(window.snapshot)
        if window_end == end and collected is not None and collected.has_both_outcomes:
            sample, has_own = collected.sample(TRIAL_EXAMPLES, seed), _has_enough_new(collected)
            trial = _fit_rankers(sample, seed, logistic_only, own_ranker_for_new=has_own)
            evaluation = _evaluate(window, rows[:EVALUATED_PER_HORIZON], trial, stage)
            had_own_ranker = trial[NEW] is not trial[BOTH]
        new_examples = collect_examples(window, rows, seed + number, stage=stage, progress=step)
        collected = new_examples if collected is None else collected.concat(new_examples)
    if collected is None or not collected.has_both_outcomes:
        note = gettext(
            "The mixture is our default: nothing that was bought could have been foreseen."
        )
        return RankerSet(note=f" {note}")
    has_own = _has_enough_new(collected)
    rankers = _fit_rankers(collected, seed, logistic_only, own_ranker_for_new=has_own)
    if evaluation is None:
        evaluation = _evaluate_held_out(last, options, logistic_only)
    is_comparable = {BOTH: True, NEW: had_own_ranker == (rankers[NEW] is not rankers[BOTH])}
    for policy, ranker in rankers.items():
        if is_comparable[policy]:
            rankers[policy] = ranker.with_kind(select_kind(evaluation[policy], ranker.kinds))
    progress(4, 4, gettext("Learning to rank"))
    return RankerSet(
        rankers,
        report_metrics(evaluation[BOTH], rankers[BOTH].kind),
        _logistic_only_note(last, options) if logistic_only else "",
    )


def _some_customers(window: PastWindow, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(window.active)[:CUSTOMERS_PER_HORIZON]


def _has_enough_new(examples: Examples) -> bool:
    """Check for enough purchases of new items. They decide on a ranker of their own."""
    return int(examples.bought[examples.is_new].sum()) >= MIN_NEW_PURCHASES


def _fit_rankers(
    examples: Examples, seed: int, logistic_only: bool, *, own_ranker_for_new: bool
) -> dict[str, Ranker]:
    """Fit a ranker for each policy.

    Signals that separate new items differ from those that predict a repeat purchase.
    """
    ranker = fit(examples, seed=seed, logistic_only=logistic_only)
    new = examples.new if own_ranker_for_new and not logistic_only else None
    return {
        BOTH: ranker,
        NEW: fit(new, seed=seed) if new is not None and new.has_both_outcomes else ranker,
    }


def _evaluate(
    window: PastWindow, rows: np.ndarray, rankers: Mapping[str, Ranker], stage: FirstStage
) -> Evaluation:
    """Evaluate rankers and baselines on a horizon."""
    snapshot = window.snapshot
    baselines = {name: baseline(snapshot) for name, baseline in BASELINES.items()}
    distinct = {id(ranker): ranker for ranker in rankers.values()}  # the policies may share one
    by_kind = {key: two_stage_scorers(snapshot, ranker, stage) for key, ranker in distinct.items()}
    scores: dict[RankingKey, Scorer] = {}
    for policy, ranker in rankers.items():
        scores |= {(kind, policy): score for kind, score in by_kind[id(ranker)].items()}
        scores |= {(name, policy): score for name, score in baselines.items()}
    evaluation: Evaluation = {policy: {} for policy in rankers}
    for (name, policy), metrics in measure_scorers(
        snapshot, rows, scores, window.purchases
    ).items():
        evaluation[policy][name] = metrics
    return evaluation


def _evaluate_held_out(
    window: PastWindow, options: TrainingOptions, logistic_only: bool
) -> Evaluation:
    """Evaluate on a quarter of the customers.

    This is needed with a single horizon. The rankers are fitted on the other customers.
    """
    rows = _some_customers(window, options.seed)
    test, training = np.split(rows, [len(rows) // 4])
    training_examples = collect_examples(window, training, options.seed)
    if not training_examples.has_both_outcomes:
        return {policy: {} for policy in POLICIES}
    rankers = _fit_rankers(training_examples, options.seed, logistic_only, own_ranker_for_new=False)
    return _evaluate(window, test, rankers, first_stage(window.snapshot))


def select_kind(evaluation: Mapping[str, RankingMetrics], kinds: Sequence[str]) -> str:
    """Select the kind of ranker by an evaluation on the newest horizon.

    The first kind is the default. Another one must be better in 95 of 100 bootstrap draws of the
    customers.
    """
    default = kinds[0]
    if not evaluation or not evaluation[default].customers:
        return default
    usual = evaluation[default].each["ndcg"]
    gains = {kind: evaluation[kind].each["ndcg"] - usual for kind in kinds[1:]}
    best = max(gains, key=lambda kind: float(gains[kind].mean()))
    gain, rng = gains[best], np.random.default_rng(0)
    ahead = np.mean([gain[rng.integers(0, len(gain), len(gain))].mean() > 0 for _ in range(DRAWS)])
    return best if ahead > CONFIDENCE else default


def report_metrics(rankings: Mapping[str, RankingMetrics], kind: str) -> dict[str, Any]:
    """Report metrics of a kind or model, and of the baselines."""
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
