"""BPR (Rendle et al. 2009): `implicit` learns factors that put what a customer has before what they have not."""

from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix

from retention.progress import Progress, silent
from retention.recommend.matrices import one_blas_thread
from retention.recommend.models.contract import NOTHING, Side, checked
from retention.recommend.models.factors import Mapped


class Bpr(Mapped):
    """Pairwise ranking by stochastic gradients, on one thread: with more, implicit's is not reproducible."""

    name = "bpr"
    looks_at: ClassVar[tuple[str, ...]] = ()

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

    def fit(
        self,
        matrix: csr_matrix,
        *,
        side: Side = NOTHING,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Learn from (customers × items); see `Model`. How much something is preferred does not count, only that it is."""
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        clean = checked(matrix)
        with one_blas_thread():
            engine = BayesianPersonalizedRanking(
                factors=min(self.factors, *clean.shape),
                learning_rate=self.learning_rate,
                regularization=self.regularization,
                iterations=self.iterations,
                num_threads=1,
                random_state=seed,
            )
            engine.fit(
                clean,
                show_progress=False,
                callback=lambda step, *_: progress(step + 1, self.iterations, "Learning tastes"),
            )
        users, items = np.asarray(engine.user_factors), np.asarray(engine.item_factors)
        self._keep(
            users[:, :-1], items[:, :-1], items[:, -1], clean
        )  # the last is the items' bias, beside a 1
        return self
