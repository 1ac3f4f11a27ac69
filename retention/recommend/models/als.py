"""ALS for implicit feedback (Hu, Koren, Volinsky 2008): `implicit` learns the item factors, any history is folded in.

The stored value is the confidence itself (1 + preference, alpha 1): with implicit's customary "alpha 40" on counts the
NDCG on Complete Journey fell from .205 to .042, and decayed weights below 1 would make a purchase less than nothing.
"""

from typing import Any, ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent
from retention.recommend.matrices import one_blas_thread
from retention.recommend.models.contract import NOTHING, Arrays, Side, checked
from retention.recommend.models.factors import Factored


class Als(Factored):
    """Item factors (items × factors) by alternating least squares."""

    name = "als"
    looks_at: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, factors: int = 64, regularization: float = 10.0, iterations: int = 15
    ) -> None:
        self.factors = factors
        self.regularization = regularization
        self.iterations = iterations

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: Side = NOTHING,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Learn from (customers × items); see `Model`. The same seed gives the same factors."""
        confidence = _confidence(checked(matrix))
        with one_blas_thread():
            engine = self._engine(min(self.factors, *confidence.shape), seed, confidence.nnz)
            engine.fit(
                confidence,
                show_progress=False,
                callback=lambda step, *_: progress(step + 1, self.iterations, "Learning tastes"),
            )
        self._keep(np.asarray(engine.item_factors, dtype=np.float32))
        return self

    def _engine(self, factors: int, seed: int, entries: int) -> Any:
        """A new one for every use: implicit's reads out of bounds when it is fitted again on a larger matrix."""
        from implicit.cpu.als import AlternatingLeastSquares

        return AlternatingLeastSquares(
            factors=factors,
            regularization=self.regularization,
            iterations=self.iterations,
            alpha=1.0,
            num_threads=1 if entries < 1_000_000 else 0,
            random_state=seed,
        )

    def _keep(self, item_factors: np.ndarray) -> None:
        self.item_factors_ = item_factors
        self.bias_ = np.zeros(len(item_factors), dtype=np.float32)
        wide = item_factors.astype(np.float64)
        self.gram_ = wide.T @ wide

    def folded(self, histories: csr_matrix) -> np.ndarray:
        """(YᵀCY + λI)⁻¹ YᵀC1 of each history, by implicit's own solver; an empty history's solution is 0."""
        confidence = _confidence(csr_matrix(histories, dtype=np.float32, copy=True))
        with one_blas_thread():
            engine = self._engine(self.item_factors_.shape[1], 0, confidence.nnz)
            engine.item_factors = self.item_factors_
            return np.asarray(engine.recalculate_user(np.arange(confidence.shape[0]), confidence))

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """cᵢ · yⱼᵀ (YᵀCY + λI)⁻¹ yᵢ: they add up to the score."""
        liked = self.item_factors_[history.indices].astype(np.float64)
        system = self.gram_ + (liked.T * history.data) @ liked
        system[np.diag_indices_from(system)] += self.regularization
        return (self.item_factors_[items] @ np.linalg.inv(system) @ liked.T) * (1.0 + history.data)

    def arrays(self) -> dict[str, np.ndarray]:
        """The item factors."""
        return {"item_factors": self.item_factors_, "regularization": np.array(self.regularization)}

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """The model of these arrays."""
        made = cls(arrays["item_factors"].shape[1], float(arrays["regularization"]))
        made._keep(arrays["item_factors"])
        return made


def _confidence(preferences: csr_matrix) -> csr_matrix:
    preferences.data = 1 + preferences.data
    return preferences
