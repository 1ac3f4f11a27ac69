"""Recommend with EASE^R, a closed-form item-to-item regression (Steck 2019).

It is the best single model on both shops that we measured. With B = I − P·diag(P)⁻¹ and
P = (XᵀX + λI)⁻¹ the scores of a history x are xB. With fewer customers than items P is not
formed: by Woodbury P = (I − XᵀKX)/λ with K = (λI + XXᵀ)⁻¹, a customers × customers matrix.

A memory limit bounds the matrix to invert. If customers and items both exceed it, the least
bought items are pruned; `Ease.pruning_note` reports it.
"""

from typing import ClassVar, Self

import numpy as np
from scipy.linalg import blas, lapack
from scipy.sparse import csc_matrix, csr_matrix

from retention.progress import Progress
from retention.recommend.matrices import one_blas_thread, sparse_arrays
from retention.recommend.models.base import Arrays, Collaborative, SideInformation, buyer_counts
from retention.text import gettext

MEMORY = 512 * 2**20  # bytes
BYTES_PER_ENTRY = 20  # doubles to invert, an intermediate copy, single floats to keep
MAX_DEFAULT_ROWS = 3_500  # the inverse takes about 2 s; larger shops use ALS by default
BLOCK = 2_048  # items at a time


class Ease(Collaborative):
    """Fit an item-to-item regression in closed form.

    `memory`: bytes that fitting may use in addition to the histories.
    """

    name = "ease"
    stored: ClassVar = {
        "regularization": "regularization",
        "memory": "memory",
        "inverse": "inverse_",
        "diagonal": "diagonal_",
        "kept": "kept_",
        "items": "items_",
        "lost": "lost_",
        "dual": "dual_",
    }

    def __init__(self, regularization: float = 200.0, memory: int = MEMORY) -> None:
        self.regularization = regularization
        self.memory = memory

    @property
    def max_rows(self) -> int:
        """Return the size limit of the matrix."""
        return max(int((self.memory / BYTES_PER_ENTRY) ** 0.5), 1)

    @property
    def pruning_note(self) -> str:
        """Describe the pruned items in a sentence. It is empty without pruning."""
        learned, items, lost = len(self.kept_), int(self.items_), float(self.lost_)
        if learned == items:
            return ""
        return gettext(
            "EASE learned the {learned:,} most bought of {items:,} items, for its matrix may take "
            "{memory:,.0f} MiB; the others make up {lost:.1%} of what is known."
        ).format(learned=learned, items=items, memory=self.memory / 2**20, lost=lost)

    def _fit(self, clean: csr_matrix, side: SideInformation, seed: int, progress: Progress) -> None:
        what = gettext("Learning which items go together")
        self.items_ = clean.shape[1]
        self.kept_ = np.arange(self.items_)
        if min(clean.shape) > self.max_rows:
            most_bought = np.argsort(-buyer_counts(clean), kind="stable")[: self.max_rows]
            self.kept_ = np.sort(most_bought)
        x = csr_matrix(clean[:, self.kept_])
        self.lost_ = 1 - x.nnz / max(clean.nnz, 1)
        del clean  # as large as the histories: the memory is needed below
        self.dual_ = x.shape[0] < x.shape[1]
        self.history_ = csc_matrix(x if self.dual_ else (0, x.shape[1]), dtype=np.float32)
        progress(1, 3, what)
        self.inverse_ = _inverse(csr_matrix(x if self.dual_ else x.T), self.regularization)
        progress(2, 3, what)
        self.diagonal_ = (
            self._dual_diagonal(progress) if self.dual_ else self.inverse_.diagonal().copy()
        )
        progress(3, 3, what)

    def _dual_diagonal(self, progress: Progress) -> np.ndarray:
        """Compute diag(P) as (1 − xⱼᵀ K xⱼ) / λ."""
        items = self.history_.shape[1]
        explained = np.empty(items, dtype=np.float32)
        for start in range(0, items, BLOCK):
            block = self.history_[:, start : start + BLOCK]
            explained[start : start + BLOCK] = block.multiply(self.inverse_ @ block).sum(axis=0)
            progress(2 * items + start, 3 * items, gettext("Learning which items go together"))
        return (1 - explained) / self.regularization

    def _scores(self, histories: csr_matrix, side: SideInformation) -> np.ndarray:
        """Compute x − xP / diag(P). Pruned items get 0."""
        if len(self.kept_) == self.items_:
            return self._score_kept(histories)
        scores = np.zeros(histories.shape, dtype=np.float32)
        scores[:, self.kept_] = self._score_kept(csr_matrix(histories[:, self.kept_]))
        return scores

    def _score_kept(self, histories: csr_matrix) -> np.ndarray:
        """Score the items that were not pruned."""
        dense = histories.toarray()
        if self.dual_:
            training_t = self.history_.T
            weights = _multiply_symmetric((histories @ training_t).toarray(), self.inverse_)
            times_p = (dense - (training_t @ weights.T).T) / self.regularization
        else:
            times_p = histories @ self.inverse_
        scores = dense - times_p / self.diagonal_
        return np.where(np.diff(histories.indptr)[:, None] > 0, scores, 0).astype(np.float32)

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """Compute xᵢ · Bᵢⱼ per item j and entry i. Pruned items and entries get 0."""
        position = np.full(self.items_, -1)
        position[self.kept_] = np.arange(len(self.kept_))
        entries, columns = position[history.indices], position[items]
        entry_kept, item_kept = entries >= 0, columns >= 0
        weights = np.zeros((len(items), len(entries)), dtype=np.float32)
        inverse = self._inverse_at(entries[entry_kept], columns[item_kept])
        contributions = -(inverse / self.diagonal_[columns[item_kept]]).T * history.data[entry_kept]
        is_same_item = columns[item_kept][:, None] == entries[entry_kept][None, :]
        contributions[is_same_item] = 0  # B has a zero diagonal
        weights[np.ix_(item_kept, entry_kept)] = contributions
        return weights

    def _inverse_at(self, entries: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return P at (entries × columns), off its diagonal."""
        if not self.dual_:
            return self.inverse_[np.ix_(entries, columns)]
        weights = (self.history_[:, columns].T @ self.inverse_).T
        return -(self.history_[:, entries].T @ weights) / self.regularization

    def arrays(self) -> dict[str, np.ndarray]:
        """Include the training histories in the dual case, without customer ids."""
        histories = sparse_arrays(self.history_)
        return super().arrays() | histories | {"shape": np.array(self.history_.shape)}

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        model = super().restore(arrays)
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        model.history_ = csc_matrix(parts, shape=tuple(arrays["shape"]))
        return model


def _multiply_symmetric(rows: np.ndarray, symmetric: np.ndarray) -> np.ndarray:
    """Multiply rows by a symmetric matrix.

    A single row is limited by memory bandwidth, so only half of the matrix is read.
    """
    if len(rows) == 1:
        product: np.ndarray = blas.ssymv(1.0, symmetric.T, rows[0], lower=0)
        return product[None]
    return rows @ symmetric


def _inverse(x: csr_matrix, regularization: float) -> np.ndarray:
    """Compute (XXᵀ + λI)⁻¹ by Cholesky, in place. The result is (rows × rows), float32."""
    gram = np.asfortranarray((x @ x.T).toarray(), dtype=np.float64)
    gram[np.diag_indices_from(gram)] += regularization
    with one_blas_thread():
        root, failed = lapack.dpotrf(gram, lower=1, overwrite_a=1)
        lower, singular = lapack.dpotri(root, lower=1, overwrite_c=1)
    assert not failed, "a positive definite matrix has a root"
    assert not singular
    half = np.tril(lower.astype(np.float32))
    return half + np.tril(half, -1).T
