"""What the models with item factors share: a history is folded in, and its factors times the items' are the scores."""

from typing import Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.models.contract import NOTHING, Arrays, Side

RIDGE = 1e-3  # of the map from histories to factors, beside the mean square of what it maps


class Factored:
    """Item factors (items × factors), and what the model says of an item to everybody (items,)."""

    item_factors_: np.ndarray
    bias_: np.ndarray

    def folded(self, histories: csr_matrix) -> np.ndarray:
        """Factors of any histories (rows × factors), float32; 0 for empty ones."""
        raise NotImplementedError

    def wide(self, histories: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
        """Left and right factors whose product is the scores: the bias is one factor more, 0 for empty histories."""
        known = (np.diff(histories.indptr) > 0).astype(np.float32)
        left = np.column_stack([self.folded(histories), known])
        return left.astype(np.float32), np.column_stack([self.item_factors_, self.bias_]).astype(
            np.float32
        )

    def scores(self, histories: csr_matrix, *, side: Side = NOTHING) -> np.ndarray:
        """The customers' factors, folded in from their histories, times the items', and the items' bias."""
        left, right = self.wide(histories)
        return left @ right.T


class Mapped(Factored):
    """Folds in by a linear map: the factors that the model learned for its customers, regressed on their histories.

    Neither BPR nor logistic MF has a closed form for a new history. The map is (factors × factors), from the mean of
    the factors of the history's items to the customer's: what the model would have given them, by least squares.
    """

    map_: np.ndarray

    def _keep(
        self, users: np.ndarray, items: np.ndarray, bias: np.ndarray, matrix: csr_matrix
    ) -> None:
        self.item_factors_, self.bias_ = items.astype(np.float32), bias.astype(np.float32)
        known = np.diff(matrix.indptr) > 0
        mean = self._mean(matrix)[known].astype(np.float64)
        square = mean.T @ mean
        square[np.diag_indices_from(square)] += RIDGE * max(
            float(np.trace(square)) / len(square), 1e-12
        )
        self.map_ = np.linalg.solve(square, mean.T @ users[known]).astype(np.float32)

    def _mean(self, histories: csr_matrix) -> np.ndarray:
        """Mean of the factors of each history's items, weighed by preference."""
        total = np.asarray(histories.sum(axis=1)).ravel()
        return (histories @ self.item_factors_) / np.where(total > 0, total, 1)[:, None]

    def folded(self, histories: csr_matrix) -> np.ndarray:
        """See `Factored`."""
        return (self._mean(histories) @ self.map_).astype(np.float32)

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """xᵢ/Σx · yᵢ W yⱼᵀ; the bias is said to everybody."""
        weight = history.data / max(float(history.data.sum()), 1e-12)
        return (
            self.item_factors_[items] @ self.map_.T @ self.item_factors_[history.indices].T
        ) * weight

    def arrays(self) -> dict[str, np.ndarray]:
        """Item factors, biases and the map."""
        return {"item_factors": self.item_factors_, "bias": self.bias_, "map": self.map_}

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        made = cls()
        made.item_factors_, made.bias_, made.map_ = (
            arrays["item_factors"],
            arrays["bias"],
            arrays["map"],
        )
        return made
