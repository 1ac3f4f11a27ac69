"""Histories as sparse matrices over a fixed order of items."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.positions import positions

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, slots=True)
class Axes:
    """Which customer is which row and which item is which column; both sorted, both of dtype object."""

    customers: np.ndarray
    items: np.ndarray

    def place(self, frame: "DataFrame") -> "Places":
        """Row and column of each line of a frame with ``customer_id`` and ``item_id``."""
        rows = positions(self.customers, frame["customer_id"])
        columns = positions(self.items, frame["item_id"])
        known = (rows >= 0) & (columns >= 0)
        return Places(rows[known], columns[known], known, (len(self.customers), len(self.items)))


@dataclass(frozen=True, slots=True)
class Places:
    """Where the lines of a frame stand in a matrix; those of unknown customers and items are left out."""

    rows: np.ndarray
    columns: np.ndarray
    known: np.ndarray
    shape: tuple[int, int]

    def matrix(self, values: np.ndarray) -> csr_matrix:
        """(customers × items) float32 of one value for each line of the frame; zeros are not stored."""
        entries = values[self.known].astype(np.float32)
        made = csr_matrix((entries, (self.rows, self.columns)), shape=self.shape)
        made.eliminate_zeros()
        return made


def ids(values: Iterable[str]) -> np.ndarray:
    """Distinct ids, sorted."""
    return np.array(sorted(set(values)), dtype=object)


def top(scores: np.ndarray, k: int) -> np.ndarray:
    """Positions of the ``k`` highest scores, best first; equal scores by position; only those above −∞."""
    allowed = int(np.isfinite(scores).sum())
    k = min(k, allowed)
    if k == 0:
        return np.empty(0, dtype=np.int64)
    bar = np.partition(scores, len(scores) - k)[len(scores) - k]
    above = np.flatnonzero(scores >= bar)  # in order of position, so that a stable sort settles ties
    return above[np.argsort(-scores[above], kind="stable")][:k]
