"""How the entries of a matrix weigh when histories, or buyers of items, are compared: cosine, TF-IDF or BM25."""

from typing import Literal

import numpy as np
from scipy.sparse import csr_matrix

Weighting = Literal["cosine", "tfidf", "bm25"]
K1, B = 1.2, 0.75  # of BM25 (Robertson and Zaragoza 2009)


def rarity(documents: int, holders: np.ndarray) -> np.ndarray:
    """log(1 + documents / (1 + holders)): what few have says more."""
    return np.log1p(documents / (1.0 + holders)).astype(np.float32)


def weighted(
    rows: csr_matrix,
    weighting: Weighting,
    idf: np.ndarray,
    length: float,
    *,
    k1: float = K1,
    b: float = B,
) -> csr_matrix:
    """Rows as documents, columns as their terms.

    Parameters
    ----------
    rows : csr_matrix
    weighting : {"cosine", "tfidf", "bm25"}
        As they are; √preference · `rarity`; or BM25's saturation by the length of the row, · `rarity`.
    idf : ndarray (columns,)
    length : float
        Mean sum of a row, where BM25 was fitted.
    k1, b : float
        Of BM25: how soon a preference is saturated, how much long rows count less.
    """
    if weighting == "cosine":
        return rows
    data = rows.data.astype(np.float32)
    if weighting == "tfidf":
        data = np.sqrt(data)
    else:
        long = np.asarray(rows.sum(axis=1)).ravel() / max(length, 1e-12)
        bar = np.repeat(k1 * (1 - b + b * long), np.diff(rows.indptr))
        data = (data * (k1 + 1) / (data + bar)).astype(np.float32)
    # A product with a diagonal matrix would leave the entries in another order.
    return _with(rows, data * idf[rows.indices])


def unit(rows: csr_matrix) -> csr_matrix:
    """Every row of length 1; empty ones stay empty."""
    data = rows.data.astype(np.float32)
    row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    length = np.sqrt(np.bincount(row, data**2, minlength=rows.shape[0]))
    return _with(rows, data / np.where(length > 0, length, 1)[row].astype(np.float32))


def _with(rows: csr_matrix, data: np.ndarray) -> csr_matrix:
    """Other values at the same places, which may be put into order without the others."""
    return csr_matrix((data, rows.indices.copy(), rows.indptr), shape=rows.shape)


def mean_length(rows: csr_matrix) -> float:
    """Mean sum of a row."""
    return float(rows.sum()) / max(rows.shape[0], 1)
