"""Rank items by overall, segment or growing popularity."""

from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent
from retention.recommend.models.base import (
    NO_SIDE_INFORMATION,
    Arrays,
    PurchaseDays,
    Segments,
    SideInformation,
    buyer_counts,
    clean_matrix,
)
from retention.text import gettext

RECENT_DAYS = 28  # beats popularity of all time by 15% to 146%
SHRINKAGE = 50.0  # buyers at which a segment weighs as much as the whole shop


def bought_items(
    matrix: csr_matrix, days: PurchaseDays | None, start: float, end: float
) -> csr_matrix:
    """Mark items bought in a range of ages.

    Parameters
    ----------
    matrix : csr_matrix
    days : PurchaseDays or None
        Without dates every entry counts.
    start, end : float
        Largest and smallest age, in days.

    Returns
    -------
    csr_matrix
        Ones in (customers × items).
    """
    if days is None:
        bought = csr_matrix(matrix, copy=True)
    else:
        chosen = (days.age >= end) & (days.age <= start)
        ones = np.ones(int(chosen.sum()), dtype=np.float32)
        bought = csr_matrix((ones, (days.row[chosen], days.column[chosen])), shape=matrix.shape)
        bought.sum_duplicates()
    bought.data = np.ones_like(bought.data)
    return bought


class Popular:
    """Count the buyers of the last 28 days.

    Without any purchase in these days, buyers of all time count.
    """

    name = "popular"
    uses: ClassVar[tuple[str, ...]] = ("days",)
    counts_: np.ndarray

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: SideInformation = NO_SIDE_INFORMATION,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Count buyers; see `Model.fit`."""
        self.counts_ = self._counts(clean_matrix(matrix), side)
        progress(1, 1, gettext("Counting what sells"))
        return self

    def _counts(self, matrix: csr_matrix, side: SideInformation) -> np.ndarray:
        recent_buyers = buyer_counts(bought_items(matrix, side.days, RECENT_DAYS, 0))
        return (recent_buyers if recent_buyers.any() else buyer_counts(matrix)).astype(np.float32)

    def scores(
        self, histories: csr_matrix, *, side: SideInformation = NO_SIDE_INFORMATION
    ) -> np.ndarray:
        """Return the counts for each history, including empty histories."""
        return np.tile(self.counts_, (histories.shape[0], 1))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the number of buyers per item."""
        return {"liked": self.counts_}

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild a model from `arrays`."""
        model = cls()
        model.counts_ = arrays["liked"]
        return model


class Trending(Popular):
    """Compare buyers of two periods of 28 days.

    These are the last 28 days and the 28 days before. The score is the increase in standard
    deviations of a Poisson count; 0 for a decrease.
    """

    name = "trending"

    def _counts(self, matrix: csr_matrix, side: SideInformation) -> np.ndarray:
        recent_buyers = buyer_counts(bought_items(matrix, side.days, RECENT_DAYS, 0)).astype(
            np.float32
        )
        earlier_buyers = buyer_counts(
            bought_items(matrix, side.days, 2 * RECENT_DAYS, np.nextafter(RECENT_DAYS, np.inf))
        )
        if side.days is None:
            earlier_buyers = np.zeros_like(recent_buyers)
        return (
            ((recent_buyers - earlier_buyers) / np.sqrt(recent_buyers + earlier_buyers + 1))
            .clip(min=0)
            .astype(np.float32)
        )


class SegmentPopular:
    """Rank by popularity within segments.

    Small segments are shrunk to the whole shop.
    """

    name = "popular_segment"
    uses: ClassVar[tuple[str, ...]] = ("days", "segments")

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: SideInformation = NO_SIDE_INFORMATION,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Count buyers per segment; see `Model.fit`."""
        clean = clean_matrix(matrix)
        recent = bought_items(clean, side.days, RECENT_DAYS, 0)
        recent = recent if recent.nnz else bought_items(clean, None, 0, 0)
        buyers_in_shop = np.asarray(recent.sum(axis=0)).ravel()
        self.share_ = (buyers_in_shop / max(float(buyers_in_shop.sum()), 1.0)).astype(np.float32)
        none = np.empty(0, dtype=str)
        segments = side.segments or Segments(
            none, csr_matrix((clean.shape[0], 0), dtype=np.float32)
        )
        self.labels_ = np.asarray(segments.labels, dtype=str)
        within = (segments.member.T @ recent).toarray()
        total = within.sum(axis=1, keepdims=True)
        self.within_ = ((within + SHRINKAGE * self.share_) / (total + SHRINKAGE)).astype(np.float32)
        progress(1, 1, gettext("Counting what sells"))
        return self

    def scores(
        self, histories: csr_matrix, *, side: SideInformation = NO_SIDE_INFORMATION
    ) -> np.ndarray:
        """Average the shares of the customer's known segments.

        Customers without a known segment get the shares of the whole shop.
        """
        from retention.recommend.matrices import positions

        shop_scores = np.tile(self.share_, (histories.shape[0], 1))
        if side.segments is None or not len(self.labels_):
            return shop_scores
        position = positions(self.labels_, side.segments.labels)
        member = csr_matrix(side.segments.member[:, position >= 0])
        count = np.asarray(member.sum(axis=1)).ravel()
        segment_scores = (member @ self.within_[position[position >= 0]]) / np.maximum(count, 1)[
            :, None
        ]
        return np.where(count[:, None] > 0, segment_scores, shop_scores).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return shares per segment and in the shop."""
        return {"labels": self.labels_, "within": self.within_, "share": self.share_}

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild a model from `arrays`."""
        model = cls()
        model.labels_, model.within_, model.share_ = (
            arrays["labels"],
            arrays["within"],
            arrays["share"],
        )
        return model
