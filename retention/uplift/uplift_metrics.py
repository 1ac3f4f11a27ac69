"""Measure uplift rankings: Qini, AUUC, uplift@k.

Binary outcome, two arms. Values equal scikit-uplift's ``qini_auc_score``, ``uplift_auc_score`` and
``uplift_at_k(strategy="overall")``. Many bootstrap replicates are computed at once: a replicate is
a vector of weights, the order stays the same.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

METRICS = ("qini", "auuc", "uplift_top_10", "uplift_top_30")
_TOP = {"uplift_top_10": 0.1, "uplift_top_30": 0.3}


@dataclass(frozen=True, slots=True)
class UpliftRanking:
    """Hold customers in order of predicted uplift, highest first."""

    outcome: np.ndarray
    treated: np.ndarray
    order: np.ndarray
    last: np.ndarray

    @classmethod
    def of(cls, outcome: np.ndarray, uplift: np.ndarray, treated: np.ndarray) -> "UpliftRanking":
        """Rank customers by predicted uplift."""
        order = np.argsort(uplift, kind="stable")[::-1]
        ends = np.r_[np.flatnonzero(np.diff(uplift[order])), len(order) - 1]
        return cls(
            np.asarray(outcome, float)[order], np.asarray(treated, float)[order], order, ends
        )

    def measure(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Compute all `METRICS`.

        `weights`: counts of each customer in b replicates, in the customers' own order; default one
        replicate of ones.
        Returns: metric → (b,). NaN if an arm is empty.
        """
        weights = np.ones((1, len(self.order))) if weights is None else weights[:, self.order]
        w = weights.astype(float)
        cells = self.cumulate(w)
        at_ends = {cell: sums[:, self.last] for cell, sums in cells.items()}
        totals = {cell: sums[:, -1] for cell, sums in cells.items()}
        with np.errstate(invalid="ignore", divide="ignore"):
            values = {
                "qini": _normalised(at_ends, _perfect(totals, _QINI_BEST), _qini_height),
                "auuc": _auuc(at_ends, totals),
            }
            for name, share in _TOP.items():
                values[name] = _top(w, self.outcome, self.treated, share)
        return values

    def cumulate(self, w: np.ndarray | float = 1.0) -> "Cells":
        """Count the customers of each cell so far, by weights (b, n) in order of the ranking."""
        return {
            (y, t): np.cumsum(
                np.atleast_2d(w * ((self.outcome == y) & (self.treated == t))), axis=1
            )
            for y, t in product((0, 1), repeat=2)
        }


Cells = Mapping[tuple[int, int], np.ndarray]  # (outcome, treated) → customers so far, (b, m)
Height = Callable[[Cells], np.ndarray]
_QINI_BEST = (((1, 1),), ((0, 0), (0, 1)), ((1, 0),))  # cells of equal rank, the best first
_AUUC_BEST = {
    # more control customers respond than treated customers do not
    "control": (((1, 1),), ((0, 0),), ((1, 0),), ((0, 1),)),
    "treated": (((1, 1),), ((0, 0),), ((0, 1),), ((1, 0),)),
}


def qini_curve(
    outcome: np.ndarray, uplift: np.ndarray, treated: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the Qini curve of a ranking.

    Returns: of the customers that are targeted, from 0 to 1.
    Returns: outcomes of the treated among them, minus those expected without treatment.

    Examples
    --------
    >>> one, zero = np.ones(2), np.zeros(2)
    >>> share, gained = qini_curve(np.r_[one, zero], np.r_[one, zero], np.array([1, 0, 1, 0]))
    >>> share.tolist(), gained.tolist()
    ([0.0, 0.5, 1.0], [0.0, 0.0, 0.0])
    """
    ranking = UpliftRanking.of(outcome, uplift, treated)
    cells = {cell: counts[:, ranking.last] for cell, counts in ranking.cumulate().items()}
    heights = _qini_height(cells)[0]
    return np.r_[0.0, (ranking.last + 1) / len(ranking.order)], np.r_[0.0, heights]


def bootstrap_weights(
    customers: int, replicates: int, seed: int, block: int = 50
) -> Iterator[np.ndarray]:
    """Draw Poisson bootstrap weights in blocks. A block is (≤ block, customers)."""
    rng = np.random.default_rng(seed)
    for start in range(0, replicates, block):
        yield rng.poisson(1.0, (min(block, replicates - start), customers)).astype(np.uint8)


def percentile_interval(draws: np.ndarray) -> tuple[float, float] | None:
    """Return the middle 95% of bootstrap draws (b,).

    None if fewer than half of them could be computed.
    """
    known = draws[np.isfinite(draws)]
    if 2 * len(known) < len(draws) or not len(known):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _qini_height(cells: Cells) -> np.ndarray:
    treated, control = cells[1, 1] + cells[0, 1], cells[1, 0] + cells[0, 0]
    return cells[1, 1] - cells[1, 0] * _ratio(treated, control)


def _uplift_height(cells: Cells) -> np.ndarray:
    treated, control = cells[1, 1] + cells[0, 1], cells[1, 0] + cells[0, 0]
    return (_ratio(cells[1, 1], treated) - _ratio(cells[1, 0], control)) * (treated + control)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def _area(cells: Cells, height: Height) -> np.ndarray:
    """Compute the area under a curve. The curve starts at (0, 0); trapezia, (b,)."""
    x, y = (
        np.pad(curve, ((0, 0), (1, 0)))
        for curve in (np.sum(list(cells.values()), axis=0), height(cells))
    )
    return (np.diff(x, axis=1) * (y[:, 1:] + y[:, :-1])).sum(axis=1) / 2


def _normalised(cells: Cells, best: Cells, height: Height) -> np.ndarray:
    """Compute the area relative to the best. Both are the area above the chord, (b,)."""
    chord = height(best)[:, -1] * np.sum([sums[:, -1] for sums in best.values()], axis=0) / 2
    return (_area(cells, height) - chord) / (_area(best, height) - chord)


def _auuc(cells: Cells, totals: Cells) -> np.ndarray:
    """Compute AUUC with each replicate's perfect order.

    The perfect order depends on the smaller of two cells.
    """
    control, treated = (
        _normalised(cells, _perfect(totals, _AUUC_BEST[first]), _uplift_height)
        for first in ("control", "treated")
    )
    return np.where(totals[1, 0] > totals[0, 1], control, treated)


def _perfect(totals: Cells, groups: tuple[tuple[tuple[int, int], ...], ...]) -> Cells:
    """Return the cells of the perfect curve. Customers come in groups of cells: (b, groups)."""
    sizes = {
        cell: np.stack([total * (cell in group) for group in groups], axis=1)
        for cell, total in totals.items()
    }
    return {cell: np.cumsum(size, axis=1) for cell, size in sizes.items()}


def _top(w: np.ndarray, outcome: np.ndarray, treated: np.ndarray, share: float) -> np.ndarray:
    """Compute the uplift at the top.

    It is treated minus control response among the first ``share`` of all, (b,).
    """
    reached = np.cumsum(w, axis=1)
    size = np.floor(reached[:, -1:] * share)
    inside = np.clip(size - (reached - w), 0, w)
    first, second = (
        (inside * arm * outcome).sum(axis=1) / (inside * arm).sum(axis=1)
        for arm in (treated, 1 - treated)
    )
    return first - second
