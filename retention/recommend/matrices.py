"""Build and read sparse (customers × items) matrices."""

import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    pass


def in_rows(
    row: np.ndarray, column: np.ndarray, values: np.ndarray, shape: tuple[int, int]
) -> csr_matrix:
    """Build a sparse matrix from sorted entries.

    Entries are distinct and sorted by row.

    Parameters
    ----------
    row, column : ndarray of int
    values : ndarray
    shape : tuple of int
    """
    matrix = csr_matrix(
        (values, column, np.searchsorted(row, np.arange(shape[0] + 1))), shape=shape
    )
    matrix.sort_indices()
    return matrix


def select_rows(matrix: csr_matrix, rows: np.ndarray) -> csr_matrix:
    """Select rows.

    Parameters
    ----------
    matrix : csr_matrix
    rows : ndarray of int
        Positions.

    Returns
    -------
    csr_matrix
        The matrix itself if all rows are selected in order.
    """
    is_everything = len(rows) == matrix.shape[0] and (rows == np.arange(len(rows))).all()
    return matrix if is_everything else csr_matrix(matrix[rows])


def row_entries(matrix: csr_matrix, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Return columns and values of one row.

    Slicing the matrix with scipy takes 50 times as long.

    Parameters
    ----------
    matrix : csr_matrix
    row : int
        Position.

    Returns
    -------
    tuple of ndarray
        Columns and values.
    """
    row_slice = slice(matrix.indptr[row], matrix.indptr[row + 1])
    return matrix.indices[row_slice], matrix.data[row_slice]


def values_at(dense: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return the values at some positions.

    Parameters
    ----------
    dense : ndarray
        (rows × columns).
    row, column : ndarray of int
        Positions, one pair per value.

    Returns
    -------
    ndarray
        0 beyond the last column.
    """
    values = np.zeros(len(row), dtype=dense.dtype)
    inside = column < dense.shape[1]
    values[inside] = dense[row[inside], column[inside]]
    return values


def first_columns(matrix: csr_matrix, count: int) -> csr_matrix:
    """Keep the first columns.

    Parameters
    ----------
    matrix : csr_matrix
    count : int
        Number of columns to keep.

    Returns
    -------
    csr_matrix
        The matrix itself if it has no others.
    """
    if matrix.shape[1] == count:
        return matrix
    is_kept = matrix.indices < count
    ends = np.r_[0, np.cumsum(is_kept)][matrix.indptr]
    return csr_matrix(
        (matrix.data[is_kept], matrix.indices[is_kept], ends), shape=(matrix.shape[0], count)
    )


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Return positions of the ``k`` highest scores.

    Ties are in order of position.

    Parameters
    ----------
    scores : ndarray of float
        (n,). Infinite scores are left out.
    k : int
        Greatest number of positions.

    Returns
    -------
    ndarray of int64
        The best come first.
    """
    finite = np.flatnonzero(np.isfinite(scores))  # often a hundredth of all: the candidates
    k = min(k, len(finite))
    if k == 0:
        return np.empty(0, dtype=np.int64)
    values = scores[finite]
    threshold = np.partition(values, len(values) - k)[len(values) - k]
    above = finite[values >= threshold]  # in order of position: a stable sort keeps ties
    return above[np.argsort(-scores[above], kind="stable")][:k]


LONG = 1_000  # ids; the index of an array this long is cached
_INDEXES: dict[int, dict[str, int]] = {}


def positions(known: np.ndarray, wanted: Sequence[str] | Any) -> np.ndarray:
    """Find the positions of ids.

    Drop the −1 before indexing. Both numpy and implicit read it as the last row, which is another
    customer's list.

    Parameters
    ----------
    known : ndarray of str
        Distinct ids.
    wanted : sequence of str
        Ids to find.

    Returns
    -------
    ndarray of int64
        Positions in ``known``; −1 for unknown ids.
    """
    values = np.asarray(wanted, dtype=object)
    indices = map(_index(known).get, values.tolist(), repeat(-1))
    return np.fromiter(indices, dtype=np.int64, count=len(values))


def _index(known: np.ndarray) -> dict[str, int]:
    """Return the index of an array.

    A long array's index is cached while the array lives.
    """
    if len(known) < LONG:
        return _build_index(known)
    if id(known) not in _INDEXES:
        _INDEXES[id(known)] = _build_index(known)
        weakref.finalize(known, _INDEXES.pop, id(known), None)
    return _INDEXES[id(known)]


def _build_index(known: np.ndarray) -> dict[str, int]:
    return dict(zip(known.tolist(), range(len(known)), strict=True))


@lru_cache(maxsize=1)
def _controller() -> Any:
    """Find the BLAS libraries once.

    Numpy and scipy must be imported before.
    """
    import numpy
    import scipy.linalg
    from threadpoolctl import ThreadpoolController

    assert numpy
    assert scipy.linalg
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[Any]:
    """Limit BLAS to one thread inside the context.

    OpenBLAS threads slow down our own and implicit's. The top 10 of 200,000 customers take 11.6 s
    instead of 16.6 s.
    """
    return _controller().limit(limits=1, user_api="blas")
