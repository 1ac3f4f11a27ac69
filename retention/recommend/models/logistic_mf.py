"""Logistic matrix factorisation (Johnson 2014), by `implicit`: the chance that a customer has an item at all."""

from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent
from retention.recommend.matrices import one_blas_thread
from retention.recommend.models.contract import NOTHING, Side, checked
from retention.recommend.models.factors import Mapped


class LogisticMf(Mapped):
    """Log-odds by factors and biases, by gradients with sampled negatives, on one thread so as to be reproducible.

    In a tiny shop the factors are fewer: with as many as there are customers, the biases swallow everything.
    """

    name = "logistic_mf"
    looks_at: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, factors: int = 32, regularization: float = 2.0, iterations: int = 30
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
        """Learn from (customers × items); see `Model`. The stored value is the weight of an entry: 1 + preference."""
        from implicit.cpu.lmf import LogisticMatrixFactorization

        weighed = checked(matrix)
        weighed.data = 1 + weighed.data
        with one_blas_thread():
            engine = LogisticMatrixFactorization(
                factors=max(min(self.factors, min(weighed.shape) // 4), 1),
                regularization=self.regularization,
                iterations=self.iterations,
                num_threads=1,
                random_state=seed,
            )
            engine.fit(
                weighed,
                show_progress=False,
                callback=lambda step, *_: progress(step + 1, self.iterations, "Learning tastes"),
            )
        users, items = np.asarray(engine.user_factors), np.asarray(engine.item_factors)
        # the last two columns are the biases, the items' first, each beside a 1 of the other side
        self._keep(users[:, :-2], items[:, :-2], items[:, -2], weighed)
        return self
