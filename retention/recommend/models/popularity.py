"""What sells: lately, in a customer's segments, and more and more. The same for everybody, or for everybody of a segment."""

from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent
from retention.recommend.models.contract import (
    NOTHING,
    Arrays,
    Days,
    Segments,
    Side,
    checked,
    owners,
)

LATELY = 28  # days: it beats popularity of all time by 15 % to 146 %
SHRINK = 50.0  # buyers: a segment with so few is believed as much as the whole shop


def buyers(matrix: csr_matrix, days: Days | None, start: float, end: float) -> csr_matrix:
    """Ones where a customer bought an item between ``end`` and ``start`` days ago; without dates, ever."""
    if days is None:
        found = csr_matrix(matrix, copy=True)
    else:
        chosen = (days.age >= end) & (days.age <= start)
        ones = np.ones(int(chosen.sum()), dtype=np.float32)
        found = csr_matrix((ones, (days.row[chosen], days.column[chosen])), shape=matrix.shape)
        found.sum_duplicates()
    found.data = np.ones_like(found.data)
    return found


class Popular:
    """Buyers of the last 28 days; where nobody bought anything in them, of all time."""

    name = "popular"
    looks_at: ClassVar[tuple[str, ...]] = ("days",)
    liked_: np.ndarray

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: Side = NOTHING,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Count; see `Model`."""
        self.liked_ = self._liked(checked(matrix), side)
        progress(1, 1, "Counting what sells")
        return self

    def _liked(self, matrix: csr_matrix, side: Side) -> np.ndarray:
        lately = owners(buyers(matrix, side.days, LATELY, 0))
        return (lately if lately.any() else owners(matrix)).astype(np.float32)

    def scores(self, histories: csr_matrix, *, side: Side = NOTHING) -> np.ndarray:
        """The same for every history, also for an empty one."""
        return np.tile(self.liked_, (histories.shape[0], 1))

    def arrays(self) -> dict[str, np.ndarray]:
        """One number an item."""
        return {"liked": self.liked_}

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        made = cls()
        made.liked_ = arrays["liked"]
        return made


class Trending(Popular):
    """Bought by more customers in the last 28 days than in the 28 before, in standard deviations of a Poisson count."""

    name = "trending"

    def _liked(self, matrix: csr_matrix, side: Side) -> np.ndarray:
        lately = owners(buyers(matrix, side.days, LATELY, 0)).astype(np.float32)
        before = owners(buyers(matrix, side.days, 2 * LATELY, np.nextafter(LATELY, np.inf)))
        if side.days is None:
            before = np.zeros_like(lately)
        return ((lately - before) / np.sqrt(lately + before + 1)).clip(min=0).astype(np.float32)


class SegmentPopular:
    """Popularity among customers of the same segments, drawn towards the whole shop's where a segment is small."""

    name = "popular_segment"
    looks_at: ClassVar[tuple[str, ...]] = ("days", "segments")

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: Side = NOTHING,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Count; see `Model`."""
        clean = checked(matrix)
        lately = buyers(clean, side.days, LATELY, 0)
        lately = lately if lately.nnz else buyers(clean, None, 0, 0)
        everyone = np.asarray(lately.sum(axis=0)).ravel()
        self.share_ = (everyone / max(float(everyone.sum()), 1.0)).astype(np.float32)
        none = np.empty(0, dtype=str)
        told = side.segments or Segments(none, csr_matrix((clean.shape[0], 0), dtype=np.float32))
        self.labels_ = np.asarray(told.labels, dtype=str)
        within = (told.member.T @ lately).toarray()
        total = within.sum(axis=1, keepdims=True)
        self.within_ = ((within + SHRINK * self.share_) / (total + SHRINK)).astype(np.float32)
        progress(1, 1, "Counting what sells")
        return self

    def scores(self, histories: csr_matrix, *, side: Side = NOTHING) -> np.ndarray:
        """Mean share over the customer's known segments; the whole shop's where there is none."""
        from retention.recommend.matrices import positions

        everyone = np.tile(self.share_, (histories.shape[0], 1))
        if side.segments is None or not len(self.labels_):
            return everyone
        place = positions(self.labels_, side.segments.labels)
        member = csr_matrix(side.segments.member[:, place >= 0])
        count = np.asarray(member.sum(axis=1)).ravel()
        found = (member @ self.within_[place[place >= 0]]) / np.maximum(count, 1)[:, None]
        return np.where(count[:, None] > 0, found, everyone).astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Shares of items in each segment and in the whole shop."""
        return {"labels": self.labels_, "within": self.within_, "share": self.share_}

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        made = cls()
        made.labels_, made.within_, made.share_ = (
            arrays["labels"],
            arrays["within"],
            arrays["share"],
        )
        return made
