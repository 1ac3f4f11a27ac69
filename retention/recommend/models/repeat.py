"""Repeat purchase with replenishment timing: what a customer will need again, and when (after Bhagat et al. 2018).

Gaps between purchases of one item by one customer are Gamma distributed around an expected gap: the customer's own,
drawn towards the item's, and that towards the shop's, by how many gaps each has seen. A share of customers never comes
back for an item (a cure model): the longer it is overdue, the more likely this is one of them. The score is the chance
of a purchase within the horizon given the days that have passed; per day it is the hazard of "due now".
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import gammainc

from retention.progress import Progress, silent
from retention.recommend.models.contract import NOTHING, Arrays, Days, Side, checked

OWN, ITEMS = (
    2.0,
    5.0,
)  # gaps with which the item's, and the shop's, expectation weighs against what was seen
RETURNS = (
    2.0  # purchases with which an item's share of returning buyers weighs against a customer's own
)
SHAPES = (0.5, 8.0)  # of the Gamma distribution: from bursts to a clockwork
NEVER = 1e9  # days


@dataclass(frozen=True, slots=True)
class Rhythm:
    """One line a (row, column) that was ever bought, in their order; ages and gaps in days."""

    row: np.ndarray
    column: np.ndarray
    count: np.ndarray
    last: np.ndarray
    gap: np.ndarray
    """Mean gap; missing below two purchases."""


def rhythm(days: Days) -> Rhythm:
    """How often, how lately and at which gaps each customer bought each item; days count once."""
    order = np.lexsort((days.age, days.column, days.row))
    row, column, age = days.row[order], days.column[order], days.age[order]
    fresh = np.ones(len(row), dtype=bool)
    fresh[1:] = (np.diff(row) != 0) | (np.diff(column) != 0)
    again = fresh.copy()
    again[1:] |= np.diff(age) >= 1
    row, column, age, fresh = row[again], column[again], age[again], fresh[again]
    begins = np.flatnonzero(fresh)
    count = np.diff(np.r_[begins, len(row)])
    last, first = age[begins], age[begins + count - 1]
    gap = np.where(count > 1, (first - last) / np.maximum(count - 1, 1), np.nan)
    return Rhythm(row[begins], column[begins], count, last, gap)


class Repeat:
    """The chance that a customer buys again, within ``horizon`` days, what they bought before."""

    name = "repeat"
    looks_at: ClassVar[tuple[str, ...]] = ("days",)

    def __init__(self, horizon: float = 28.0) -> None:
        self.horizon = horizon

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: Side = NOTHING,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Learn each item's expected gap and share of returning buyers, and how regular gaps are; see `Model`."""
        clean = checked(matrix)
        items = clean.shape[1]
        seen = rhythm(side.days if side.days is not None else undated(clean))
        several = seen.count > 1
        gaps = np.bincount(seen.column[several], weights=seen.count[several] - 1, minlength=items)
        total = np.bincount(
            seen.column[several], weights=(seen.gap * (seen.count - 1))[several], minlength=items
        )
        usual = total.sum() / gaps.sum() if gaps.sum() else NEVER
        self.gap_ = (total + ITEMS * usual) / (gaps + ITEMS)
        buyers = np.bincount(seen.column, minlength=items)
        returned = np.bincount(seen.column[several], minlength=items)
        share = (returned.sum() + 1) / (buyers.sum() + 2)
        self.returns_ = (returned + ITEMS * share) / (buyers + ITEMS)
        self.shape_ = self._regularity(seen)
        progress(1, 1, "Learning how often things are needed")
        return self

    def _regularity(self, seen: Rhythm) -> float:
        """Shape of the Gamma distribution: 1 / variance of mean gaps over expected ones, each of ``count`` − 1 gaps."""
        several = seen.count > 1
        if several.sum() < 2:
            return 1.0
        ratio = seen.gap[several] / self.gap_[seen.column[several]]
        variance = np.average((ratio - 1) ** 2, weights=seen.count[several] - 1)
        return float(np.clip(1 / max(float(variance), 1e-9), *SHAPES))

    def chance(self, seen: Rhythm) -> np.ndarray:
        """Chance of a purchase within the horizon, for each line."""
        many = seen.count - 1
        own = np.where(many > 0, np.nan_to_num(seen.gap), 0.0)
        gap = np.maximum((many * own + OWN * self.gap_[seen.column]) / (many + OWN), 1.0)
        back = (many + RETURNS * self.returns_[seen.column]) / (many + RETURNS)
        passed = gammainc(self.shape_, self.shape_ * seen.last / gap)
        then = gammainc(self.shape_, self.shape_ * (seen.last + self.horizon) / gap)
        return back * (then - passed) / np.maximum(back * (1 - passed) + 1 - back, 1e-12)

    def scores(self, histories: csr_matrix, *, side: Side = NOTHING) -> np.ndarray:
        """`chance` of what was bought before; 0 for what never was."""
        seen = rhythm(side.days if side.days is not None else undated(histories))
        found = np.zeros(histories.shape, dtype=np.float32)
        found[seen.row, seen.column] = self.chance(seen)
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """Expected gaps, shares of returning buyers, regularity."""
        return {
            "gap": self.gap_,
            "returns": self.returns_,
            "shape": np.array(self.shape_),
            "horizon": np.array(self.horizon),
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        made = cls(float(arrays["horizon"]))
        made.gap_, made.returns_, made.shape_ = (
            arrays["gap"],
            arrays["returns"],
            float(arrays["shape"]),
        )
        return made


def undated(matrix: csr_matrix) -> Days:
    """Without dates everything was bought once, just now."""
    entries = csr_matrix(matrix)
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(entries.indptr))
    return Days(row, entries.indices, np.zeros(len(row)))
