"""The best items of very many customers at once: blocks of scores, what may not be shown taken out, the highest kept.

A block of 64 customers fits into a core's cache with its scores. The highest of 20,000 scores are found by the maxima of
512 interleaved groups: the ``k`` groups with the highest maxima hold the ``k`` highest scores, so all others need no look.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.blas_threads import one_blas_thread
from retention.recommend.models import NO_SIDE_INFORMATION, Model, SideInformation
from retention.recommend.models.matrix_factorisation import FactorModel

ROWS, GROUPS = 64, 512
DENSE = 256  # rows of a model that scores everything itself


def best(
    left: np.ndarray,
    right: np.ndarray,
    k: int,
    *,
    without: csr_matrix | None = None,
    barred: np.ndarray | None = None,
    cores: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` items with the highest product of factors, best first, for each customer.

    Parameters
    ----------
    left : ndarray (customers × factors)
    right : ndarray (items × factors)
    k : int
        More than there are items is as many as there are.
    without : csr_matrix (customers × items), optional
        Whatever is stored is left out, as what was bought is where only new items are wanted.
    barred : ndarray of bool (items,), optional
        Left out for everybody.
    cores : int, optional
        Threads, each with its own block; BLAS has one in each, for OpenBLAS's own get in each other's way.

    Returns
    -------
    tuple of ndarray
        Item positions (customers × k) and scores; −1 and −∞ where there is nothing left to show.
    """
    wide = np.ascontiguousarray(right.T, dtype=np.float32)
    narrow = np.ascontiguousarray(left, dtype=np.float32)
    return _in_blocks(
        lambda rows: narrow[rows] @ wide,
        narrow.shape[0],
        right.shape[0],
        k,
        ROWS,
        without,
        barred,
        cores,
    )


def best_of(
    model: Model,
    histories: csr_matrix,
    k: int,
    *,
    side: SideInformation = NO_SIDE_INFORMATION,
    without: csr_matrix | None = None,
    barred: np.ndarray | None = None,
    cores: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """`best` by any model; of whom or of what nothing is known, nothing is shown: there factors are 0, and so are scores.

    A product of factors may also come out as 0 by the last bit of its sum, which is a score like any other.
    """
    if isinstance(model, FactorModel):
        left, right = model.augmented_factors(histories)
        nothing = ~np.any(right, axis=1)
        barred = nothing if barred is None else barred | nothing
        ids, scores = best(left, right, k, without=without, barred=barred, cores=cores)
        known = np.any(left, axis=1, keepdims=True)
        return np.where(known, ids, -1), np.where(known, scores, -np.inf)

    def scored(rows: slice) -> np.ndarray:
        some = np.arange(histories.shape[0])[rows]
        found = model.scores(csr_matrix(histories[rows]), side=side.select(some))
        return np.where(found != 0, found, -np.inf).astype(np.float32)

    customers, items = histories.shape
    return _in_blocks(scored, customers, items, k, DENSE, without, barred, cores)


def _in_blocks(
    scored: Callable[[slice], np.ndarray],
    customers: int,
    items: int,
    k: int,
    size: int,
    without: csr_matrix | None,
    barred: np.ndarray | None,
    cores: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    k = min(k, items)
    ids, scores = (
        np.full((customers, k), -1, dtype=np.int64),
        np.full((customers, k), -np.inf, np.float32),
    )

    def fill(start: int) -> None:
        rows = slice(start, min(start + size, customers))
        found = scored(rows)
        if without is not None:
            line = without.indptr[rows.start : rows.stop + 1]
            row = np.repeat(np.arange(len(found)), np.diff(line))
            found[row, without.indices[line[0] : line[-1]]] = -np.inf
        if barred is not None:
            found[:, barred] = -np.inf
        ids[rows], scores[rows] = highest(found, k)

    if customers and k:
        with (
            one_blas_thread(),
            ThreadPoolExecutor(cores or os.cpu_count() or 1) as pool,
        ):
            list(pool.map(fill, range(0, customers, size)))  # a list, so that an error is raised
    return np.where(np.isfinite(scores), ids, -1), scores


def highest(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and values of the ``k`` highest scores of each row, best first."""
    rows, items = scores.shape
    group = items // GROUPS
    if k < GROUPS // 2 and group > 1:
        cut = group * GROUPS
        peaks = scores[:, :cut].reshape(rows, group, GROUPS).max(axis=1)
        tops = np.argpartition(peaks, GROUPS - k, axis=1)[:, GROUPS - k :]
        inside = (tops[:, None, :] + (np.arange(group) * GROUPS)[None, :, None]).reshape(rows, -1)
        rest = np.broadcast_to(np.arange(cut, items), (rows, items - cut))
        columns = np.column_stack([inside, rest])
        values = np.take_along_axis(scores, columns, 1)
    else:
        columns, values = np.broadcast_to(np.arange(items), scores.shape), scores
    if k < values.shape[1]:
        at = np.argpartition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k :]
        columns, values = np.take_along_axis(columns, at, 1), np.take_along_axis(values, at, 1)
    order = np.lexsort((columns, -values), axis=1)
    return np.take_along_axis(columns, order, 1), np.take_along_axis(values, order, 1)
