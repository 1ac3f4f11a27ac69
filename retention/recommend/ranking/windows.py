"""Past windows: what was known at their beginning, and what was bought in them; what a ranker learns from."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent
from retention.recommend.catalogue import Catalogue
from retention.recommend.evaluation_context import (
    BATCH,
    FirstStage,
    Snapshot,
    first_stage,
    ground_truth,
    learn_snapshot,
)
from retention.recommend.history import History
from retention.recommend.ranking.ranker import Examples

HORIZONS = 3  # that the ranker learns on; a fourth added nothing on Complete Journey
FEWEST_IN_HORIZON = 40  # customers who bought in it
THINNED = 0.25  # of the candidates that were not bought


@dataclass(frozen=True, slots=True)
class Asked:
    """What to train."""

    horizon_days: int
    seed: int
    model: str
    min_buyers: int
    items: Catalogue


@dataclass(frozen=True, slots=True)
class Window:
    """A horizon that has passed.

    Parameters
    ----------
    start : int
        Its first day, since 1970.
    then : Snapshot
        What was known before it.
    real : csr_matrix (customers × items)
        What was bought in it.
    active : ndarray of int
        The customers with a history who bought something in it.
    """

    start: int
    then: Snapshot
    real: csr_matrix
    active: np.ndarray


def window(history: History, end: int, asked: Asked, progress: Progress = silent) -> Window | None:
    """The horizon before the midnight that begins day ``end``; None where nothing was known before it."""
    start = end - asked.horizon_days
    past = history.before(start)
    if not len(past.day):
        return None
    then = learn_snapshot(
        past,
        float(start),
        asked.items,
        min_buyers=asked.min_buyers,
        model=asked.model,
        seed=asked.seed,
        progress=progress,
    )
    real = ground_truth(then, history, start, end)
    return Window(start, then, real, np.flatnonzero(np.diff(real.indptr) > 0))


def horizons(history: History, end: int, asked: Asked) -> list[int]:
    """The ends of the horizons before the midnight that begins day ``end``, oldest first, as far back as enough customers bought."""
    found: list[int] = []
    while len(found) < HORIZONS - 1:
        start = end - asked.horizon_days
        known = np.unique(history.customer[(history.day < start) & (history.known < start)])
        if np.isin(np.unique(history.between(start, end)[0]), known).sum() < FEWEST_IN_HORIZON:
            break
        found.insert(0, end)
        end = start
    return found


def examples(
    found: Window,
    rows: np.ndarray,
    seed: int,
    *,
    stage: FirstStage | None = None,
    progress: Progress = silent,
) -> Examples:
    """Candidates of these customers with what became of them; what was not bought is thinned and weighs more.

    ``stage`` may remember the candidates of the same customers in the same batches.
    """
    stage = stage or first_stage(found.then, batches=1)
    rng = np.random.default_rng(seed)
    views, labels, weights = [], [], []
    purchases = np.diff(found.real.indptr)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        offered = stage(batch)
        bought = np.asarray(found.real[batch][offered.row, offered.column]).ravel() > 0
        kept = bought | (rng.random(len(bought)) < THINNED)
        views.append(offered.view[kept])
        labels.append(bought[kept])
        weights.append(
            np.where(bought, 1, 1 / THINNED)[kept] / np.sqrt(purchases[batch][offered.row[kept]])
        )
        progress(start + len(batch), len(rows), "Gathering candidates to learn from")
    return Examples(
        np.concatenate(views), np.concatenate(labels), np.concatenate(weights), len(rows)
    )
