"""Factorise the interaction matrix: ALS, BPR and logistic factorisation."""

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress
from retention.recommend.matrices import one_blas_thread
from retention.recommend.models.base import Arrays, Collaborative, SideInformation
from retention.text import gettext

RIDGE = 1e-3  # of the fold-in map, relative to the mean square of its input


class FactorModel(Collaborative):
    """Score histories by factors of customers and items.

    Subclasses hold item factors (items × factors) and biases that are equal for all customers
    (items,).
    """

    item_factors_: np.ndarray
    bias_: np.ndarray

    @abstractmethod
    def fold_in(self, histories: csr_matrix) -> np.ndarray:
        """Compute factors of histories, (rows × factors).

        The result is float32, and 0 for empty rows.
        """

    def augmented_factors(self, histories: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
        """Return left and right factors of the scores.

        The scores are the product of both. The bias becomes an additional factor, 0 for empty
        histories.
        """
        has_history = (np.diff(histories.indptr) > 0).astype(np.float32)
        left = np.column_stack([self.fold_in(histories), has_history])
        right = np.column_stack([self.item_factors_, self.bias_])
        return left.astype(np.float32), right.astype(np.float32)

    def _scores(self, histories: csr_matrix, side: SideInformation) -> np.ndarray:
        """Multiply folded-in factors by item factors. The bias of items is added."""
        left, right = self.augmented_factors(histories)
        return left @ right.T


class LinearFoldIn(FactorModel):
    """Fold histories in by a fitted linear map.

    BPR and logistic MF have no closed form for a new history. The map (factors × factors) leads
    from the mean factors of a history's items to the customer's factors, by least squares.
    """

    map_: np.ndarray
    stored: ClassVar = {"item_factors": "item_factors_", "bias": "bias_", "map": "map_"}

    def _store(
        self, users: np.ndarray, items: np.ndarray, bias: np.ndarray, matrix: csr_matrix
    ) -> None:
        """Store the factors and fit the fold-in map."""
        self.item_factors_, self.bias_ = items.astype(np.float32), bias.astype(np.float32)
        has_history = np.diff(matrix.indptr) > 0
        mean = self._mean(matrix)[has_history].astype(np.float64)
        gram = mean.T @ mean
        gram[np.diag_indices_from(gram)] += RIDGE * max(float(np.trace(gram)) / len(gram), 1e-12)
        self.map_ = np.linalg.solve(gram, mean.T @ users[has_history]).astype(np.float32)

    def _mean(self, histories: csr_matrix) -> np.ndarray:
        """Average the item factors, weighted by preference."""
        total = np.asarray(histories.sum(axis=1)).ravel()
        return (histories @ self.item_factors_) / np.where(total > 0, total, 1)[:, None]

    def fold_in(self, histories: csr_matrix) -> np.ndarray:
        return (self._mean(histories) @ self.map_).astype(np.float32)

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """Compute xᵢ/Σx · yᵢ W yⱼᵀ, without the bias."""
        weight = history.data / max(float(history.data.sum()), 1e-12)
        own = self.item_factors_[history.indices].T
        return (self.item_factors_[items] @ self.map_.T @ own) * weight


class Als(FactorModel):
    """Factorise by alternating least squares.

    The method is for implicit feedback (Hu, Koren, Volinsky 2008). `implicit` fits the item factors
    (items × factors); any history is folded in. The confidence is 1 + preference (alpha 1). On
    counts, implicit's customary "alpha 40" lowered the NDCG on Complete Journey from .205 to .042,
    and decayed weights below 1 would make a purchase count less than none.
    """

    name = "als"
    stored: ClassVar = {"item_factors": "item_factors_", "regularization": "regularization"}

    def __init__(
        self, factors: int = 64, regularization: float = 10.0, iterations: int = 15
    ) -> None:
        self.factors = factors
        self.regularization = regularization
        self.iterations = iterations

    def _fit(self, clean: csr_matrix, side: SideInformation, seed: int, progress: Progress) -> None:
        confidence = _confidence(clean)
        with one_blas_thread():
            engine = self._engine(min(self.factors, *confidence.shape), seed, confidence.nnz)
            _run(engine, confidence, progress)
        self._store(np.asarray(engine.item_factors, dtype=np.float32))

    def _engine(self, factors: int, seed: int, entries: int) -> Any:
        """Create a new `implicit` model.

        `implicit` reads out of bounds if a model is fitted again on a larger matrix.
        """
        from implicit.cpu.als import AlternatingLeastSquares

        return AlternatingLeastSquares(
            factors=factors,
            regularization=self.regularization,
            iterations=self.iterations,
            alpha=1.0,
            num_threads=1 if entries < 1_000_000 else 0,
            random_state=seed,
        )

    def _store(self, item_factors: np.ndarray) -> None:
        """Store the item factors and their Gram matrix."""
        self.item_factors_ = item_factors
        self.bias_ = np.zeros(len(item_factors), dtype=np.float32)
        factors = item_factors.astype(np.float64)
        self.gram_ = factors.T @ factors

    def fold_in(self, histories: csr_matrix) -> np.ndarray:
        """Solve (YᵀCY + λI)⁻¹ YᵀC1 per history.

        This uses implicit's solver. The solution of an empty history is 0.
        """
        confidence = _confidence(csr_matrix(histories, dtype=np.float32, copy=True))
        with one_blas_thread():
            engine = self._engine(self.item_factors_.shape[1], 0, confidence.nnz)
            engine.item_factors = self.item_factors_
            return np.asarray(engine.recalculate_user(np.arange(confidence.shape[0]), confidence))

    def contributions(self, history: csr_matrix, items: np.ndarray) -> np.ndarray:
        """Compute cᵢ · yⱼᵀ (YᵀCY + λI)⁻¹ yᵢ. The sum is the score."""
        history_factors = self.item_factors_[history.indices].astype(np.float64)
        system = self.gram_ + (history_factors.T * history.data) @ history_factors
        system[np.diag_indices_from(system)] += self.regularization
        return (self.item_factors_[items] @ np.linalg.inv(system) @ history_factors.T) * (
            1.0 + history.data
        )

    @classmethod
    def restore(cls, arrays: Arrays) -> Self:
        """Rebuild a model from `arrays`."""
        model = super().restore(arrays)
        model._store(model.item_factors_)
        return model


def _run(engine: Any, matrix: csr_matrix, progress: Progress) -> None:
    """Fit a model of `implicit`. It calls ``report`` after each iteration."""

    def report(iteration: int, *_: Any) -> None:
        progress(iteration + 1, engine.iterations, gettext("Learning tastes"))

    engine.fit(matrix, show_progress=False, callback=report)


def _confidence(preferences: csr_matrix) -> csr_matrix:
    """Add 1 to the stored preferences, in place."""
    preferences.data = 1 + preferences.data
    return preferences


class Bpr(LinearFoldIn):
    """Learn a pairwise ranking (BPR, Rendle et al. 2009).

    Factors rank the items that a customer has above the others. Training uses one thread because
    implicit's BPR is not reproducible with several.
    """

    name = "bpr"

    def __init__(
        self,
        factors: int = 64,
        learning_rate: float = 0.01,
        regularization: float = 0.01,
        iterations: int = 100,
    ) -> None:
        self.factors = factors
        self.learning_rate = learning_rate
        self.regularization = regularization
        self.iterations = iterations

    def _fit(self, clean: csr_matrix, side: SideInformation, seed: int, progress: Progress) -> None:
        # Only the presence of a preference counts, not its size.
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        with one_blas_thread():
            engine = BayesianPersonalizedRanking(
                factors=min(self.factors, *clean.shape),
                learning_rate=self.learning_rate,
                regularization=self.regularization,
                iterations=self.iterations,
                num_threads=1,
                random_state=seed,
            )
            _run(engine, clean, progress)
        users, items = np.asarray(engine.user_factors), np.asarray(engine.item_factors)
        # the last column of the item factors is the bias; the customers' is 1
        self._store(users[:, :-1], items[:, :-1], items[:, -1], clean)


class LogisticMf(LinearFoldIn):
    """Factorise purchase log-odds (Johnson 2014), by `implicit`.

    Training uses sampled negatives and one thread, to be reproducible. A tiny shop gets fewer
    factors: with as many factors as customers, the biases absorb all information.
    """

    name = "logistic_mf"

    def __init__(
        self, factors: int = 32, regularization: float = 2.0, iterations: int = 30
    ) -> None:
        self.factors = factors
        self.regularization = regularization
        self.iterations = iterations

    def _fit(self, clean: csr_matrix, side: SideInformation, seed: int, progress: Progress) -> None:
        from implicit.cpu.lmf import LogisticMatrixFactorization

        weights = _confidence(clean)
        with one_blas_thread():
            engine = LogisticMatrixFactorization(
                factors=max(min(self.factors, min(weights.shape) // 4), 1),
                regularization=self.regularization,
                iterations=self.iterations,
                num_threads=1,
                random_state=seed,
            )
            _run(engine, weights, progress)
        users, items = np.asarray(engine.user_factors), np.asarray(engine.item_factors)
        # the last two columns are the item bias and the customer bias, paired with ones
        self._store(users[:, :-2], items[:, :-2], items[:, -2], weights)
