"""Histories as sparse matrices over a fixed order of items."""

import weakref
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

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


def in_rows(
    row: np.ndarray, column: np.ndarray, values: np.ndarray, shape: tuple[int, int]
) -> csr_matrix:
    """A matrix of entries that are in order of row, each of another place."""
    made = csr_matrix((values, column, np.searchsorted(row, np.arange(shape[0] + 1))), shape=shape)
    made.sort_indices()
    return made


def some_rows(matrix: csr_matrix, rows: np.ndarray) -> csr_matrix:
    """These rows; the matrix itself where they are all of it."""
    everybody = len(rows) == matrix.shape[0] and (rows == np.arange(len(rows))).all()
    return matrix if everybody else csr_matrix(matrix[rows])


def entries(matrix: csr_matrix, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values of one row; to make a matrix of it takes scipy fifty times as long."""
    inside = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return matrix.indices[inside], matrix.data[inside]


def at_pairs(dense: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The values at these places; 0 behind the end of the columns."""
    found = np.zeros(len(row), dtype=dense.dtype)
    inside = column < dense.shape[1]
    found[inside] = dense[row[inside], column[inside]]
    return found


def first_columns(matrix: csr_matrix, count: int) -> csr_matrix:
    """The first so many columns; the matrix itself where it has no others."""
    if matrix.shape[1] == count:
        return matrix
    kept = matrix.indices < count
    ends = np.r_[0, np.cumsum(kept)][matrix.indptr]
    return csr_matrix(
        (matrix.data[kept], matrix.indices[kept], ends), shape=(matrix.shape[0], count)
    )


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
    above = np.flatnonzero(
        scores >= bar
    )  # in order of position, so that a stable sort settles ties
    return above[np.argsort(-scores[above], kind="stable")][:k]


LONG = 1_000  # ids whose index is worth keeping as long as they are there themselves
_INDEXES: dict[int, dict[str, int]] = {}


def positions(known: np.ndarray, wanted: Sequence[str] | Any) -> np.ndarray:
    """Where each of ``wanted`` stands in the distinct ids ``known``; −1 where it is unknown.

    Never use the result as an index before dropping the −1: numpy and implicit both take it for the last row, which
    is another customer's list.
    """
    values = np.asarray(wanted, dtype=object)
    found = map(_index(known).get, values.tolist(), repeat(-1))
    return np.fromiter(found, dtype=np.int64, count=len(values))


def _index(known: np.ndarray) -> dict[str, int]:
    """Of a long array, which nobody changes, the one made before."""
    if len(known) < LONG:
        return _made(known)
    if id(known) not in _INDEXES:
        _INDEXES[id(known)] = _made(known)
        weakref.finalize(known, _INDEXES.pop, id(known), None)
    return _INDEXES[id(known)]


def _made(known: np.ndarray) -> dict[str, int]:
    return dict(zip(known.tolist(), range(len(known)), strict=True))


@lru_cache(maxsize=1)
def _controller() -> Any:
    """Looking for the libraries takes longer than a list; numpy's and scipy's BLAS are there once both are imported."""
    import numpy
    import scipy.linalg
    from threadpoolctl import ThreadpoolController

    assert numpy
    assert scipy.linalg
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """For as long as the context lasts; afterwards as many as before."""
    return _controller().limit(limits=1, user_api="blas")
