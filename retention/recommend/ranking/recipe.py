"""How lists are put in order: a ranker learned on the last horizons, and which kind of it has ranked best in horizons it had not seen.

Prequential (Dawid 1984): going through the horizons from the oldest on, each is first ranked by what the earlier ones taught, then
learned from. Customers held back from one horizon would flatter whatever has many parameters, for it has seen what sold then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from retention.progress import Progress, part, silent
from retention.recommend.evaluation_context import (
    BATCH,
    BOTH,
    NEW,
    POLICIES,
    FirstStage,
    K,
    RankingKey,
    Scorer,
    first_purchases,
    first_stage,
    popularity_baseline,
    purchased_items,
    rank_items,
    repeat_baseline,
    two_stage_scorer,
)
from retention.recommend.history import History
from retention.recommend.metrics import RankingMetrics, ranking_metrics
from retention.recommend.ranking.ranker import Examples, Ranker, fit
from retention.recommend.ranking.windows import Asked, Window, examples, horizons, window

FEWEST_TO_LEARN = 40  # customers who bought in the last horizon: below, nothing is learned
FEWEST_TO_RANK = 100  # below, only the few signals are learned; as where there are fewer items than
FEWEST_ITEMS_TO_RANK = 50
FEWEST_NEW = 1_000  # examples of something new that was bought: below, lists of new items are ranked by what was learned from everything
FIT_ON = 1_000  # customers a horizon
JUDGED = 2 * BATCH  # of them, a horizon
TRIED_ON = (
    60_000  # examples, where a ranker is learned only to be judged: half the time in a large shop
)
CLEARLY = 0.95  # of bootstrap draws; the best of several is easily ahead by chance
BASELINES = {"popular": popularity_baseline, "buy_it_again": repeat_baseline}


@dataclass(frozen=True, slots=True)
class Recipe:
    """The ranker for each policy, none where the mixture ranks; what was measured; and why, in words."""

    rankers: dict[str, Ranker] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    note: str = ""


Judged = dict[str, dict[str, RankingMetrics]]  # policy → name → how it ranked the same customers


def learn_to_rank(history: History, end: int, asked: Asked, progress: Progress = silent) -> Recipe:
    """Learn on the last horizons before the midnight that begins day ``end``."""
    last = window(history, end, asked, part(progress, 0, 4))
    if last is None or len(last.active) < FEWEST_TO_LEARN:
        return Recipe(
            note=f" The mixture is our default: learning how to rank takes {FEWEST_TO_LEARN} customers who bought in the last {asked.horizon_days} days and before."
        )
    few = len(last.active) < FEWEST_TO_RANK or last.then.size[1] < FEWEST_ITEMS_TO_RANK
    ends = [*horizons(history, last.start, asked), end]
    learned: Examples | None = None
    judged: list[Judged] = []
    apart: list[bool] = []  # whether lists of new items were judged by a ranker of their own
    for number, until in enumerate(ends, start=1):
        step = part(part(progress, 1, 4, span=2), number - 1, len(ends))
        found = last if until == end else window(history, until, asked, step)
        if found is None or not len(found.active):
            continue
        rows = np.random.default_rng(asked.seed + number).permutation(found.active)[:FIT_ON]
        stage = first_stage(found.then)
        if learned is not None and learned.decisive:
            tried = learned.drawn(TRIED_ON, asked.seed)
            trials = _fitted(tried, asked.seed, few, apart=_apart(learned, few))
            judged.append(_judge(found, rows[:JUDGED], trials, stage))
            apart.append(trials[NEW] is not trials[BOTH])
        more = examples(found, rows, asked.seed + number, stage=stage, progress=step)
        learned = more if learned is None else learned.with_(more)
    if learned is None or not learned.decisive:
        return Recipe(
            note=" The mixture is our default: nothing that was bought could have been foreseen."
        )
    rankers = _fitted(learned, asked.seed, few, apart=_apart(learned, few))
    if not judged:
        judged, apart = [_judge_within(last, asked, few)], [False]
    own = rankers[NEW] is not rankers[BOTH]
    alike = {
        BOTH: judged,
        NEW: [one for one, its_own in zip(judged, apart, strict=True) if its_own == own],
    }
    rankers = {
        policy: ranker.of(preferred([one[policy] for one in alike[policy]], ranker.kinds))
        for policy, ranker in rankers.items()
    }
    progress(4, 4, "Learning to rank")
    return Recipe(
        rankers, _metrics(judged[-1][BOTH], rankers[BOTH].kind), _note(last, asked) if few else ""
    )


def _apart(learned: Examples, few: bool) -> bool:
    """Whether there is enough to learn a ranker of new items alone."""
    return not few and int(learned.bought[learned.fresh].sum()) >= FEWEST_NEW


def _fitted(learned: Examples, seed: int, few: bool, *, apart: bool) -> dict[str, Ranker]:
    """A ranker for each policy: what tells among new items is not what tells whether something is bought again."""
    ranker = fit(learned, seed=seed, few=few)
    new = learned.new if apart else None
    return {BOTH: ranker, NEW: fit(new, seed=seed) if new is not None and new.decisive else ranker}


def _judge(
    found: Window, rows: np.ndarray, rankers: Mapping[str, Ranker], stage: FirstStage
) -> Judged:
    """How every kind of these rankers, and the baselines, rank for customers of a horizon that they have not learned from."""
    then = found.then
    baselines = {name: baseline(then) for name, baseline in BASELINES.items()}
    kinds: dict[
        tuple[int, str], Scorer
    ] = {}  # the same score under both policies is asked only once
    for ranker in rankers.values():
        for kind in ranker.kinds:
            kinds.setdefault((id(ranker), kind), two_stage_scorer(then, ranker.of(kind), stage))
    offered: dict[RankingKey, Scorer] = {}
    for policy, ranker in rankers.items():
        offered |= {(kind, policy): kinds[id(ranker), kind] for kind in ranker.kinds}
        offered |= {(name, policy): score for name, score in baselines.items()}
    lists = rank_items(then, rows, offered)
    bought = {
        BOTH: purchased_items(found.real, rows),
        NEW: purchased_items(first_purchases(then, found.real), rows),
    }
    judged: Judged = {policy: {} for policy in rankers}
    for name, policy in offered:
        judged[policy][name] = ranking_metrics(
            lists[name, policy], bought[policy], k=K, items=then.size[1]
        )
    return judged


def _judge_within(only: Window, asked: Asked, few: bool) -> Judged:
    """Where there is one horizon only: a quarter of its customers, by what the others taught."""
    rows = np.random.default_rng(asked.seed).permutation(only.active)[:FIT_ON]
    judging, learning = np.split(rows, [len(rows) // 4])
    others = examples(only, learning, asked.seed)
    if not others.decisive:
        return {policy: {} for policy in POLICIES}
    return _judge(
        only, judging, _fitted(others, asked.seed, few, apart=False), first_stage(only.then)
    )


def preferred(
    judged: Sequence[Mapping[str, RankingMetrics]], kinds: Sequence[str], draws: int = 400
) -> str:
    """The first kind, unless another was better in every horizon judged and in 95 of 100 bootstrap draws of their customers."""
    usual, counted = kinds[0], [one for one in judged if one and one[kinds[0]].customers]
    if not counted:
        return usual
    gained = {
        kind: [one[kind].each["ndcg"] - one[usual].each["ndcg"] for one in counted]
        for kind in kinds[1:]
    }
    better = {
        kind: np.concatenate(gains)
        for kind, gains in gained.items()
        if min(gain.mean() for gain in gains) > 0
    }
    if not better:
        return usual
    best = max(better, key=lambda kind: float(better[kind].mean()))
    gains, rng = better[best], np.random.default_rng(0)
    ahead = np.mean(
        [gains[rng.integers(0, len(gains), len(gains))].mean() > 0 for _ in range(draws)]
    )
    return best if ahead > CLEARLY else usual


def _metrics(found: Mapping[str, RankingMetrics], kind: str) -> dict[str, Any]:
    if not found:
        return {}
    beside = {name: found[name].as_dict() for name in BASELINES}
    return {**found[kind].as_dict(), "customers": found[kind].customers, "baselines": beside}


def _note(last: Window, asked: Asked) -> str:
    return (
        f" Ranked by a few strong signals: trees and nets take {FEWEST_TO_RANK} customers who bought in the last "
        f"{asked.horizon_days} days and {FEWEST_ITEMS_TO_RANK} items bought by several; there are {len(last.active)} and "
        f"{last.then.size[1]}."
    )
