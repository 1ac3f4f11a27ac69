"""Predict repeat purchases from replenishment timing.

The model follows Bhagat et al. 2018. Gaps between a customer's purchases of one item are Gamma
distributed around an expected gap. The customer's own mean gap is shrunk to the item's, and that to
the shop's, by the number of gaps. A share of customers never returns for an item (a cure model), so
a long silence lowers the score. The score is the probability of a purchase within the horizon,
given the days since the last one.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import gammainc

from retention.progress import Progress
from retention.recommend.models.base import Model, PurchaseDays, SideInformation
from retention.text import gettext

ITEM_PRIOR_GAPS = 2.0  # gaps that the item's mean weighs in the shrinkage of a customer's gap
SHOP_PRIOR_GAPS = 5.0  # gaps that the shop's mean weighs in the shrinkage of an item's gap
RETURN_PRIOR = 2.0  # purchases that an item's return share weighs against the customer's own
SHAPE_RANGE = (0.5, 8.0)  # of the Gamma distribution: from bursts to regular intervals
NEVER = 1e9  # days


@dataclass(frozen=True, slots=True)
class RepurchaseIntervals:
    """Summarise purchases per (row, column), sorted. Ages and gaps are in days."""

    row: np.ndarray
    column: np.ndarray
    count: np.ndarray
    last: np.ndarray
    gap: np.ndarray
    """Mean gap; NaN below two purchases."""


def repurchase_intervals(days: PurchaseDays) -> RepurchaseIntervals:
    """Summarise count, recency and gaps of purchases. Several purchases on one day count once."""
    order = np.lexsort((days.age, days.column, days.row))
    row, column, age = days.row[order], days.column[order], days.age[order]
    starts_pair = np.ones(len(row), dtype=bool)
    starts_pair[1:] = (np.diff(row) != 0) | (np.diff(column) != 0)
    is_new_day = starts_pair.copy()
    is_new_day[1:] |= np.diff(age) >= 1
    row, column, age = row[is_new_day], column[is_new_day], age[is_new_day]
    begins = np.flatnonzero(starts_pair[is_new_day])
    count = np.diff(np.r_[begins, len(row)])
    last, first = age[begins], age[begins + count - 1]
    gap = np.where(count > 1, (first - last) / np.maximum(count - 1, 1), np.nan)
    return RepurchaseIntervals(row[begins], column[begins], count, last, gap)


class Repeat(Model):
    """Score the probability of a repeat purchase.

    The purchase must fall within ``horizon`` days.
    """

    name = "repeat"
    uses = ("days",)
    stored: ClassVar = {
        "gap": "gap_",
        "returns": "returns_",
        "shape": "shape_",
        "horizon": "horizon",
    }

    def __init__(self, horizon: float = 28.0) -> None:
        self.horizon = horizon

    def _fit(self, clean: csr_matrix, side: SideInformation, seed: int, progress: Progress) -> None:
        items = clean.shape[1]
        pairs = repurchase_intervals(purchase_days(side, clean))
        repeated = pairs.count > 1
        column, gap_count = pairs.column[repeated], (pairs.count - 1)[repeated]
        gaps = np.bincount(column, weights=gap_count, minlength=items)
        total_gap = np.bincount(column, weights=pairs.gap[repeated] * gap_count, minlength=items)
        shop_gap = total_gap.sum() / gaps.sum() if gaps.sum() else NEVER
        self.gap_ = (total_gap + SHOP_PRIOR_GAPS * shop_gap) / (gaps + SHOP_PRIOR_GAPS)
        buyers = np.bincount(pairs.column, minlength=items)
        returned = np.bincount(column, minlength=items)
        share = (returned.sum() + 1) / (buyers.sum() + 2)
        self.returns_ = (returned + SHOP_PRIOR_GAPS * share) / (buyers + SHOP_PRIOR_GAPS)
        self.shape_ = self._regularity(pairs)
        progress(1, 1, gettext("Learning how often things are needed"))

    def _regularity(self, pairs: RepurchaseIntervals) -> float:
        """Estimate the shape of the Gamma distribution of gaps.

        It is 1 / variance of the ratio of mean to expected gap, weighted by ``count`` − 1 gaps.
        """
        repeated = pairs.count > 1
        if repeated.sum() < 2:
            return 1.0
        ratio = pairs.gap[repeated] / self.gap_[pairs.column[repeated]]
        variance = np.average((ratio - 1) ** 2, weights=pairs.count[repeated] - 1)
        return float(np.clip(1 / max(float(variance), 1e-9), *SHAPE_RANGE))

    def purchase_probability(self, pairs: RepurchaseIntervals) -> np.ndarray:
        """Compute the probability of a purchase per pair.

        The purchase must fall within the horizon.
        """
        gaps = pairs.count - 1
        own_gap = np.where(gaps > 0, np.nan_to_num(pairs.gap), 0.0)
        gap = gaps * own_gap + ITEM_PRIOR_GAPS * self.gap_[pairs.column]
        gap = np.maximum(gap / (gaps + ITEM_PRIOR_GAPS), 1.0)
        returns = (gaps + RETURN_PRIOR * self.returns_[pairs.column]) / (gaps + RETURN_PRIOR)
        elapsed = gammainc(self.shape_, self.shape_ * pairs.last / gap)
        by_horizon = gammainc(self.shape_, self.shape_ * (pairs.last + self.horizon) / gap)
        silent = np.maximum(returns * (1 - elapsed) + 1 - returns, 1e-12)
        return returns * (by_horizon - elapsed) / silent

    def _scores(self, histories: csr_matrix, side: SideInformation) -> np.ndarray:
        """Score the items of the history.

        The score is `purchase_probability`; other items get 0.
        """
        pairs = repurchase_intervals(purchase_days(side, histories))
        scores = np.zeros(histories.shape, dtype=np.float32)
        scores[pairs.row, pairs.column] = self.purchase_probability(pairs)
        return scores


def purchase_days(side: SideInformation, matrix: csr_matrix) -> PurchaseDays:
    """Return the known days. Without any, every entry of the matrix is one purchase of today."""
    if side.days is not None:
        return side.days
    entries = csr_matrix(matrix)
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(entries.indptr))
    return PurchaseDays(row, entries.indices, np.zeros(len(row)))
