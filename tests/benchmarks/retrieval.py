"""Find many customers' top items in blocks.

A block of 64 customers and its scores fits into a core's cache. To find the top ``k`` of 20,000
scores, take the maxima of 512 interleaved groups. The ``k`` groups with the highest maxima contain
the top ``k`` scores.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.matrices import one_blas_thread
from retention.recommend.models.base import NO_SIDE_INFORMATION, Model, SideInformation
from retention.recommend.models.matrix_factorisation import FactorModel

ROWS, GROUPS = 64, 512  # customers per block; groups of scores
DENSE = 256  # customers per block of a model without factors


def top_items(
    left: np.ndarray,
    right: np.ndarray,
    k: int,
    *,
    without: csr_matrix | None = None,
    barred: np.ndarray | None = None,
    cores: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the items with the highest products.

    Multiplies factors of customers and items.

    `cores`: threads. Each takes a block and runs BLAS with one thread.
    Returns: item positions (customers × k), best first, and scores. Empty places are −1 and −∞.
    """
    wide = np.ascontiguousarray(right.T, dtype=np.float32)
    narrow = np.ascontiguousarray(left, dtype=np.float32)
    shape = len(narrow), len(right)
    return _in_blocks(lambda rows: narrow[rows] @ wide, shape, k, ROWS, without, barred, cores)


def top_items_of_model(
    model: Model,
    histories: csr_matrix,
    k: int,
    *,
    side: SideInformation = NO_SIDE_INFORMATION,
    without: csr_matrix | None = None,
    barred: np.ndarray | None = None,
    cores: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the top items by any model.

    Leave out unknown customers and items. Factors of unknown customers and items are 0, and other
    models score them 0. A product of known factors may also round to 0; it counts as a score.
    """
    if isinstance(model, FactorModel):
        left, right = model.augmented_factors(histories)
        is_unknown = ~np.any(right, axis=1)
        barred = is_unknown if barred is None else barred | is_unknown
        ids, scores = top_items(left, right, k, without=without, barred=barred, cores=cores)
        is_known = np.any(left, axis=1, keepdims=True)
        return np.where(is_known, ids, -1), np.where(is_known, scores, -np.inf)

    def score_block(rows: slice) -> np.ndarray:
        some = np.arange(histories.shape[0])[rows]
        scores = model.scores(csr_matrix(histories[rows]), side=side.select(some))
        return np.where(scores != 0, scores, -np.inf).astype(np.float32)

    return _in_blocks(score_block, histories.shape, k, DENSE, without, barred, cores)


def _in_blocks(
    score_block: Callable[[slice], np.ndarray],
    shape: tuple[int, int],
    k: int,
    size: int,
    without: csr_matrix | None,
    barred: np.ndarray | None,
    cores: int | None,
) -> tuple[np.ndarray, np.ndarray]:
    customers, k = shape[0], min(k, shape[1])
    ids = np.full((customers, k), -1, dtype=np.int64)
    scores = np.full((customers, k), -np.inf, np.float32)

    def fill(start: int) -> None:
        rows = slice(start, min(start + size, customers))
        block = score_block(rows)
        if without is not None:
            line = without.indptr[rows.start : rows.stop + 1]
            row = np.repeat(np.arange(len(block)), np.diff(line))
            block[row, without.indices[line[0] : line[-1]]] = -np.inf
        if barred is not None:
            block[:, barred] = -np.inf
        ids[rows], scores[rows] = top_scores(block, k)

    if customers and k:
        with one_blas_thread(), ThreadPoolExecutor(cores or os.cpu_count() or 1) as pool:
            list(pool.map(fill, range(0, customers, size)))  # the list raises errors
    return np.where(np.isfinite(scores), ids, -1), scores


def top_scores(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's ``k`` highest scores. Returns positions and values, best first."""
    rows, items = scores.shape
    group = items // GROUPS
    if k < GROUPS // 2 and group > 1:
        cut = group * GROUPS
        peaks = scores[:, :cut].reshape(rows, group, GROUPS).max(axis=1)
        best_groups = np.argpartition(peaks, GROUPS - k, axis=1)[:, GROUPS - k :]
        members = best_groups[:, None, :] + (np.arange(group) * GROUPS)[None, :, None]
        inside = members.reshape(rows, -1)
        rest = np.broadcast_to(np.arange(cut, items), (rows, items - cut))
        columns = np.column_stack([inside, rest])
        values = np.take_along_axis(scores, columns, 1)
    else:
        columns, values = np.broadcast_to(np.arange(items), scores.shape), scores
    if k < values.shape[1]:
        best = np.argpartition(values, values.shape[1] - k, axis=1)[:, values.shape[1] - k :]
        columns, values = np.take_along_axis(columns, best, 1), np.take_along_axis(values, best, 1)
    order = np.lexsort((columns, -values), axis=1)
    return np.take_along_axis(columns, order, 1), np.take_along_axis(values, order, 1)
