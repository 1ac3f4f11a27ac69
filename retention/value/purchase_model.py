"""Common interface and maximum-likelihood fit of the purchase models.

In BG/NBD, MBG/NBD and Pareto/NBD, customers buy at a Gamma(r, α) rate until they drop out for
good. The models differ in when a customer can drop out. The data per customer are x (repeat
purchases), t_x (time from the first to the last purchase) and T (time since the first).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

_PENALTY = 1e-4  # keeps the parameters finite when almost all customers stay
_BOUND = 12.0  # largest absolute logarithm of a parameter


class PurchaseModel(ABC):
    """A fitted purchase model, in the unit of time of its data.

    Parameters
    ----------
    r, alpha : float
        Shape and rate of the Gamma distribution of purchase rates.
    """

    __slots__ = ()
    r: float
    alpha: float

    @abstractmethod
    def log_likelihood(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Return the log-likelihood of each customer, (n,).

        Parameters
        ----------
        x, t_x, age : numpy.ndarray
            (n,) repeat purchases, time from the first to the last, and time since the first.
        """

    @abstractmethod
    def alive(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Return P(customer is still active), (n,).

        The complement is not the churn risk: use `no_purchase` for that.

        Parameters
        ----------
        x, t_x, age : numpy.ndarray
            (n,) repeat purchases, time from the first to the last, and time since the first.
        """

    @abstractmethod
    def expected(
        self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, horizon: float
    ) -> np.ndarray:
        """Return E[purchases within ``horizon`` from now], (n,).

        Parameters
        ----------
        x, t_x, age : numpy.ndarray
            (n,) repeat purchases, time from the first to the last, and time since the first.
        horizon : float
            In the unit of time of the model.
        """

    def no_purchase(
        self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, horizon: float
    ) -> np.ndarray:
        """Return P(no purchase within ``horizon`` from now), (n,).

        Parameters
        ----------
        x, t_x, age : numpy.ndarray
            (n,) repeat purchases, time from the first to the last, and time since the first.
        horizon : float
            In the unit of time of the model.

        Notes
        -----
        A customer without purchases until T + t has the history (x, t_x, T + t). The probability
        is the likelihood of that history divided by the likelihood of (x, t_x, T).
        """
        x, t_x, age = (np.asarray(values, dtype=float) for values in (x, t_x, age))
        later = self.log_likelihood(x, t_x, age + horizon) - self.log_likelihood(x, t_x, age)
        return np.exp(np.minimum(later, 0.0))

    def rate_if_alive(self, x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Return the posterior mean purchase rate of active customers, (n,).

        Parameters
        ----------
        x, age : numpy.ndarray
            (n,) repeat purchases and time since the first purchase.
        """
        return (self.r + np.asarray(x, dtype=float)) / (self.alpha + age)

    def wait_if_alive(self, x: np.ndarray, age: np.ndarray, share: float = 0.5) -> np.ndarray:
        """Return the time until a share of such customers buys again, (n,).

        Parameters
        ----------
        x, age : numpy.ndarray
            (n,) repeat purchases and time since the first purchase.
        share : float
            Share of customers, given that all are still active; 0.5 gives the median wait.
        """
        return (self.alpha + age) * np.expm1(
            -np.log1p(-share) / (self.r + np.asarray(x, dtype=float))
        )

    def parameters(self) -> dict[str, float]:
        """Return the parameters by name."""
        return asdict(self)  # type: ignore[call-overload]


M = TypeVar("M", bound=PurchaseModel)


def validate_histories(x: Any, t_x: Any, age: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Convert purchase histories to floats and validate them.

    Parameters
    ----------
    x, t_x, age : array-like
        (n,) repeat purchases, time from the first to the last, and time since the first.

    Returns
    -------
    tuple of numpy.ndarray
        The same, each (n,).

    Raises
    ------
    ValueError
        Without customers, with a negative count, or with a last purchase in the future.
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
    """Fit the parameters of a purchase model by maximum likelihood.

    Equal histories are merged and time is scaled to a mean age of 1, so the unit does not affect
    convergence. L-BFGS searches over the logarithms of the parameters.

    Parameters
    ----------
    make : callable
        Parameters in their order → model.
    start : tuple of float
        Initial parameters.
    x, t_x, age : numpy.ndarray
        (n,) histories, as `validate_histories` returns them.

    Returns
    -------
    parameters : numpy.ndarray
        In the order of ``make``. Parameters that are times are in units of the mean age.
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

    with threadpool_limits(1):  # BLAS threads slow down a problem with four parameters
        optimum = minimize(
            loss,
            np.log(start),
            method="L-BFGS-B",
            options={"maxiter": 300, "ftol": 1e-13, "gtol": 1e-8},
        )
    return np.exp(np.clip(optimum.x, -_BOUND, _BOUND)), unit
