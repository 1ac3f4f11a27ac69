"""EASE^R: the closed-form item-to-item regression (Steck 2019), the best single model on both shops we measured.

With B = I − P·diag(P)⁻¹ and P = (XᵀX + λI)⁻¹ the scores of a history x are xB. Where there are fewer customers than
items P is not formed: by Woodbury P = (I − XᵀKX)/λ with K = (λI + XXᵀ)⁻¹, a customers × customers matrix.

The matrix to invert may take a stated number of bytes. Where customers and items are both too many for it, the items of
the fewest buyers are pruned, and `told` says which part that was.
"""

from typing import ClassVar, Self

import numpy as np
from scipy.linalg import blas, lapack
from scipy.sparse import csc_matrix, csr_matrix

from retention.progress import Progress, silent
from retention.recommend.matrices import one_blas_thread
from retention.recommend.models.contract import NOTHING, Arrays, Side, checked, owners

MEMORY = 512 * 2**20  # bytes
BYTES = 20  # an entry: doubles to invert, a copy on the way, single floats to keep
LARGEST = 3_500  # rows whose inverse takes about 2 s; a shop above is given ALS unless EASE is asked for by name
BLOCK = 2_048  # items at a time


class Ease:
    """See the module. ``regularization`` is λ, ``memory`` the bytes that learning may take beside the histories."""

    name = "ease"
    looks_at: ClassVar[tuple[str, ...]] = ()

    def __init__(self, regularization: float = 200.0, memory: int = MEMORY) -> None:
        self.regularization = regularization
        self.memory = memory

    @property
    def most(self) -> int:
        """Rows of the largest matrix that fits into the memory."""
        return max(int((self.memory / BYTES) ** 0.5), 1)

    @property
    def told(self) -> str:
        """What was pruned, in a sentence; empty where nothing was."""
        kept, items, share = len(self.kept_), int(self.items_), float(self.lost_)
        if kept == items:
            return ""
        return (
            f"EASE learned the {kept:,} most bought of {items:,} items, for its matrix may take "
            f"{self.memory / 2**20:,.0f} MiB; the others make up {share:.1%} of what is known."
        )

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: Side = NOTHING,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Learn from (customers × items); see `Model`."""
        x = checked(matrix)
        self.items_ = x.shape[1]
        self.kept_ = np.arange(self.items_)
        if min(x.shape) > self.most:
            often = np.argsort(-owners(x), kind="stable")[: self.most]
            self.kept_ = np.sort(often)
        whole, x = x.nnz, csr_matrix(x[:, self.kept_])
        self.lost_ = 1 - x.nnz / max(whole, 1)
        self.dual_ = x.shape[0] < x.shape[1]
        self.history_ = csc_matrix(x if self.dual_ else (0, x.shape[1]), dtype=np.float32)
        progress(1, 3, "Learning which items go together")
        self.inverse_ = _inverse(csr_matrix(x if self.dual_ else x.T), self.regularization)
        progress(2, 3, "Learning which items go together")
        self.diagonal_ = (
            self._dual_diagonal(progress) if self.dual_ else self.inverse_.diagonal().copy()
        )
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

    def scores(self, histories: csr_matrix, *, side: Side = NOTHING) -> np.ndarray:
        """x − xP / diag(P); 0 for items that were pruned."""
        if len(self.kept_) == self.items_:
            return self._of_kept(histories)
        found = np.zeros(histories.shape, dtype=np.float32)
        found[:, self.kept_] = self._of_kept(csr_matrix(histories[:, self.kept_]))
        return found

    def _of_kept(self, histories: csr_matrix) -> np.ndarray:
        dense = histories.toarray()
        if self.dual_:
            turned = self.history_.T
            seen = _times((histories @ turned).toarray(), self.inverse_)
            times_p = (dense - (turned @ seen.T).T) / self.regularization
        else:
            times_p = histories @ self.inverse_
        found = dense - times_p / self.diagonal_
        return np.where(np.diff(histories.indptr)[:, None] > 0, found, 0).astype(np.float32)

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """xᵢ · Bᵢⱼ for each item j and each entry i of the history; 0 where either was pruned."""
        place = np.full(self.items_, -1)
        place[self.kept_] = np.arange(len(self.kept_))
        entries, columns = place[history.indices], place[items]
        known, asked = entries >= 0, columns >= 0
        weights = np.zeros((len(items), len(entries)), dtype=np.float32)
        p = self._of_pairs(entries[known], columns[asked])
        found = -(p / self.diagonal_[columns[asked]]).T * history.data[known]
        found[columns[asked][:, None] == entries[known][None, :]] = 0  # no item speaks for itself
        weights[np.ix_(asked, known)] = found
        return weights

    def _of_pairs(self, entries: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """P at (entries × columns), off its diagonal."""
        if not self.dual_:
            return self.inverse_[np.ix_(entries, columns)]
        seen = (self.history_[:, columns].T @ self.inverse_).T
        return -(self.history_[:, entries].T @ seen) / self.regularization

    def arrays(self) -> dict[str, np.ndarray]:
        """Inverse, diagonal, which items they are of, and in the dual the (nameless) histories."""
        return {
            "regularization": np.array(self.regularization),
            "memory": np.array(self.memory),
            "inverse": self.inverse_,
            "diagonal": self.diagonal_,
            "kept": self.kept_,
            "items": np.array(self.items_),
            "lost": np.array(self.lost_),
            "dual": np.array(self.dual_),
            "data": self.history_.data,
            "indices": self.history_.indices,
            "indptr": self.history_.indptr,
            "shape": np.array(self.history_.shape),
        }

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        made = cls(float(arrays["regularization"]), int(arrays["memory"]))
        made.dual_, made.kept_ = bool(arrays["dual"]), arrays["kept"]
        made.items_, made.lost_ = int(arrays["items"]), float(arrays["lost"])
        made.inverse_, made.diagonal_ = arrays["inverse"], arrays["diagonal"]
        parts = (arrays["data"], arrays["indices"], arrays["indptr"])
        made.history_ = csc_matrix(parts, shape=tuple(arrays["shape"]))
        return made


def _times(rows: np.ndarray, symmetric: np.ndarray) -> np.ndarray:
    """The product; of a single row, which waits for memory, by reading half of the matrix only."""
    if len(rows) == 1:
        found: np.ndarray = blas.ssymv(1.0, symmetric.T, rows[0], lower=0)
        return found[None]
    return rows @ symmetric


def _inverse(x: csr_matrix, regularization: float) -> np.ndarray:
    """(XXᵀ + λI)⁻¹ (rows × rows), float32; by Cholesky, in the place of the matrix itself."""
    gram = np.asfortranarray((x @ x.T).toarray(), dtype=np.float64)
    gram[np.diag_indices_from(gram)] += regularization
    with one_blas_thread():
        root, failed = lapack.dpotrf(gram, lower=1, overwrite_a=1)
        lower, singular = lapack.dpotri(root, lower=1, overwrite_c=1)
    assert not failed, "a positive definite matrix has a root"
    assert not singular
    half = np.tril(lower.astype(np.float32))
    return half + np.tril(half, -1).T
