"""What every purchase model can answer, and how it is fitted: one small contract for BG/NBD, MBG/NBD and Pareto/NBD.

All three say that a customer buys at a Gamma(r, α) rate until they stop for good; they differ in when one can stop. Of
each customer they need x (repeat purchases), t_x (time from the first to the last) and T (time since the first).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

_PENALTY = 1e-4  # keeps the parameters finite where hardly anybody stops
_BOUND = 12.0  # of a parameter's logarithm


class PurchaseModel(ABC):
    """A fitted model; its unit of time is that of the data it was fitted on.

    Parameters
    ----------
    r, alpha : float
        Gamma of the purchase rate while a customer.
    """

    __slots__ = ()
    r: float
    alpha: float

    @abstractmethod
    def log_likelihood(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Log-likelihood of each customer, (n,)."""

    @abstractmethod
    def alive(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """P(still a customer), (n,). Never use its complement as churn risk: see `no_purchase`."""

    @abstractmethod
    def expected(
        self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, horizon: float
    ) -> np.ndarray:
        """E[purchases within ``horizon`` from now], (n,)."""

    def no_purchase(
        self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, horizon: float
    ) -> np.ndarray:
        """P(no purchase within ``horizon`` from now), (n,).

        A customer of whom nothing is heard until T + t has the history (x, t_x, T + t), so the likelihood of that over
        the likelihood of (x, t_x, T) is the probability; it needs no formula of its own.
        """
        x, t_x, age = (np.asarray(values, dtype=float) for values in (x, t_x, age))
        later = self.log_likelihood(x, t_x, age + horizon) - self.log_likelihood(x, t_x, age)
        return np.exp(np.minimum(later, 0.0))

    def rate_if_alive(self, x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Posterior mean of the purchase rate while still a customer, (n,)."""
        return (self.r + np.asarray(x, dtype=float)) / (self.alpha + age)

    def wait_if_alive(self, x: np.ndarray, age: np.ndarray, share: float = 0.5) -> np.ndarray:
        """By when a ``share`` of such customers, while they still are, has purchased again, (n,) from now."""
        return (self.alpha + age) * np.expm1(
            -np.log1p(-share) / (self.r + np.asarray(x, dtype=float))
        )

    def parameters(self) -> dict[str, float]:
        """Its parameters by name."""
        return asdict(self)  # type: ignore[call-overload]


M = TypeVar("M", bound=PurchaseModel)


def checked(x: Any, t_x: Any, age: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The histories as floats, each (n,).

    Raises
    ------
    ValueError
        Without a customer, with a negative count, or with a last purchase after now.
    """
    x, t_x, age = (np.asarray(values, dtype=float) for values in (x, t_x, age))
    if not len(x) or (t_x > age + 1e-9).any() or (x < 0).any():
        raise ValueError("a purchase model needs customers with x >= 0 and 0 <= t_x <= T")
    return x, t_x, age


def maximum_likelihood(
    make: Callable[..., M],
    start: tuple[float, ...],
    x: np.ndarray,
    t_x: np.ndarray,
    age: np.ndarray,
) -> tuple[np.ndarray, float]:
    """Parameters that make (n,) histories likeliest, and the unit of time they are in.

    Equal customers are folded together and time is scaled to one mean age, so that any unit converges alike; the
    parameters are searched by their logarithms (L-BFGS).

    Parameters
    ----------
    make : callable
        Parameters (in their order) → model.
    start : tuple of float
        Where to begin.

    Returns
    -------
    parameters : numpy.ndarray
        In the order of ``make``; those that are times are still in units of the mean age.
    unit : float
        The mean age.
    """
    unit = max(float(age.mean()), 1e-9)
    rows, weights = np.unique(
        np.column_stack([x, t_x / unit, age / unit]), axis=0, return_counts=True
    )
    weights = weights / weights.sum()
    penalty = _PENALTY / len(x) ** 0.5

    def loss(logs: np.ndarray) -> float:
        model = make(*np.exp(np.clip(logs, -_BOUND, _BOUND)))
        return -float(weights @ model.log_likelihood(*rows.T)) + penalty * float(logs @ logs)

    with threadpool_limits(1):  # BLAS threads for four numbers only wait for each other
        found = minimize(
            loss,
            np.log(start),
            method="L-BFGS-B",
            options={"maxiter": 300, "ftol": 1e-13, "gtol": 1e-8},
        )
    return np.exp(np.clip(found.x, -_BOUND, _BOUND)), unit
