"""EASE^R: the closed-form item-to-item regression (Steck 2019), the best single model on both shops we measured.

With B = I − P·diag(P)⁻¹ and P = (XᵀX + λI)⁻¹ the scores of a history x are xB. Where there are fewer customers than
items P is not formed: by Woodbury P = (I − XᵀKX)/λ with K = (λI + XXᵀ)⁻¹, a customers × customers matrix.
"""

from typing import Self

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix
from threadpoolctl import threadpool_limits

from retention.progress import Progress, silent
from retention.recommend.models.contract import Arrays, checked

LARGEST = 3_500  # rows of the matrix to invert: about 2 s and 50 MB; above, ALS
BLOCK = 2_048  # items at a time


class Ease:
    """See the module. ``regularization`` is λ."""

    name = "ease"

    def __init__(self, regularization: float = 200.0) -> None:
        self.regularization = regularization

    def fit(self, matrix: csr_matrix, *, seed: int = 0, progress: Progress = silent) -> Self:
        """Learn from (customers × items); see `Collaborative`.

        Raises
        ------
        ValueError
            Where both customers and items are more than `LARGEST`.
        """
        x = checked(matrix)
        if min(x.shape) > LARGEST:
            raise ValueError(
                f"EASE takes at most {LARGEST} customers or items, not {x.shape[0]} × {x.shape[1]}"
            )
        self.dual_ = x.shape[0] < x.shape[1]
        self.history_ = csc_matrix(x if self.dual_ else (0, x.shape[1]), dtype=np.float32)
        gram = (x @ x.T if self.dual_ else x.T @ x).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += self.regularization
        progress(1, 3, "Learning which items go together")
        with threadpool_limits(limits=1, user_api="blas"):
            self.inverse_ = np.linalg.inv(gram).astype(np.float32)
        progress(2, 3, "Learning which items go together")
        self.diagonal_ = self._dual_diagonal(progress) if self.dual_ else self.inverse_.diagonal().copy()
        progress(3, 3, "Learning which items go together")
        return self

    def _dual_diagonal(self, progress: Progress) -> np.ndarray:
        """diag(P), item by item: (1 − xⱼᵀ K xⱼ) / λ."""
        items = self.history_.shape[1]
        explained = np.empty(items, dtype=np.float32)
        for start in range(0, items, BLOCK):
            block = self.history_[:, start : start + BLOCK]
            explained[start : start + BLOCK] = block.multiply(self.inverse_ @ block).sum(axis=0)
            progress(2 * items + start, 3 * items, "Learning which items go together")
        return (1 - explained) / self.regularization

    def scores(self, histories: csr_matrix) -> np.ndarray:
        """x − xP / diag(P)."""
        if self.dual_:
            seen = (histories @ self.history_.T).toarray() @ self.inverse_
            times_p = (histories.toarray() - (self.history_.T @ seen.T).T) / self.regularization
        else:
            times_p = histories @ self.inverse_
        found = histories.toarray() - times_p / self.diagonal_
        return np.where(np.diff(histories.indptr)[:, None] > 0, found, 0).astype(np.float32)

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """xᵢ · Bᵢⱼ for each item j and each entry i of the history."""
        entries = history.indices
        if self.dual_:
            columns = self.inverse_ @ self.history_[:, items].toarray()
            p = -(self.history_[:, entries].T @ columns) / self.regularization
        else:
            p = self.inverse_[np.ix_(entries, items)]
        weights = -(p / self.diagonal_[items]).T * history.data
        weights[items[:, None] == entries[None, :]] = 0  # no item speaks for itself
        return weights

    def arrays(self) -> dict[str, np.ndarray]:
        """Inverse, diagonal, and in the dual the (nameless) histories."""
        return {
            "regularization": np.array(self.regularization),
            "inverse": self.inverse_,
            "diagonal": self.diagonal_,
            "dual": np.array(self.dual_),
            "data": self.history_.data,
            "indices": self.history_.indices,
            "indptr": self.history_.indptr,
            "shape": np.array(self.history_.shape),
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        made = cls(float(arrays["regularization"]))
        made.dual_ = bool(arrays["dual"])
        made.inverse_, made.diagonal_ = arrays["inverse"], arrays["diagonal"]
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        made.history_ = csc_matrix(parts, shape=tuple(arrays["shape"]))
        return made
