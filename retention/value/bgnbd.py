"""BG/NBD purchase model: customers may drop out after each repeat purchase.

References
----------
Fader, Hardie, Lee (2005), "Counting Your Customers" the Easy Way: An Alternative to the Pareto/NBD
Model, Marketing Science 24 (2).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln, hyp2f1
from threadpoolctl import threadpool_limits

_PENALTY = 1e-4  # keeps the parameters finite when almost all customers stay
_BOUND = 12.0  # largest absolute logarithm of a parameter


@dataclass(frozen=True, slots=True)
class BgNbd:
    """A fitted BgNbd, in the unit of time of its data.

    Customers buy at a Gamma(r, α) rate until they drop out for good. The data per customer are x
    (repeat purchases), t_x (time from the first to the last purchase) and T (time since the first).

    `a`, `b`: beta distribution of the probability of dropping out after a repeat purchase.
    """

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Return the log-likelihood of each customer, (n,)."""
        x = np.asarray(x, dtype=float)
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        common = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
        common = common + gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
        stays = -(r + x) * np.log(alpha + age)
        leaves = np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t_x)
        return common + np.where(x > 0, np.logaddexp(stays, leaves), stays)

    def alive(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Return P(customer is still active), (n,).

        The complement is not the churn risk: use `no_purchase` for that.
        """
        x = np.asarray(x, dtype=float)
        ratio = (self.r + x) * (np.log(self.alpha + age) - np.log(self.alpha + t_x))
        odds = self.a / (self.b + np.maximum(x, 1) - 1) * np.exp(np.minimum(ratio, 700))
        return 1 / (1 + np.where(x > 0, odds, 0.0))

    def no_purchase(
        self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, horizon: float
    ) -> np.ndarray:
        """Return P(no purchase within ``horizon`` from now), (n,)."""
        x = np.asarray(x, dtype=float)
        grown = np.log(self.alpha + age + horizon) - np.log(self.alpha + age)
        none_if_alive = np.exp(-(self.r + x) * grown)
        return 1 - self.alive(x, t_x, age) * (1 - none_if_alive)

    def expected(
        self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, horizon: float
    ) -> np.ndarray:
        """Return E[purchases within ``horizon`` from now], (n,)."""
        x = np.asarray(x, dtype=float)
        a = avoid_one(self.a)
        z = horizon / (self.alpha + age + horizon)
        # Euler's transformation of the paper's series, whose terms overflow for frequent buyers
        series = power_series(a + self.b - 1 - self.r, a - 1, a + self.b + x - 1, z)
        dropout = 1 - np.exp((a - 1) * np.log1p(-z)) * series
        return (a + self.b + x - 1) / (a - 1) * dropout * self.alive(x, t_x, age)

    def rate_if_alive(self, x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Return the posterior mean purchase rate of active customers, (n,)."""
        return (self.r + np.asarray(x, dtype=float)) / (self.alpha + age)

    def wait_if_alive(self, x: np.ndarray, age: np.ndarray, share: float = 0.5) -> np.ndarray:
        """Return the time until a share of such customers buys again, (n,).

        `share`: share of customers, given that all are still active; 0.5 gives the median wait.
        """
        shape = self.r + np.asarray(x, dtype=float)
        return (self.alpha + age) * np.expm1(-np.log1p(-share) / shape)


def avoid_one(value: float) -> float:
    """Move a value away from 1 by at least 1e-6.

    At exactly 1 the formulas divide 0 by 0; next to it they give their limit.
    """
    return value if abs(value - 1) > 1e-6 else 1 + 1e-6


def fit(x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> BgNbd:
    """Fit by maximum likelihood.

    Equal histories are merged and time is scaled to a mean age of 1, so the unit does not affect
    convergence. L-BFGS searches over the logarithms of the parameters.

    Returns: in the unit of time of the data.
    Raises `ValueError`: without customers, with a negative count, or with a last purchase in the
    future.
    """
    x, t_x, age = (np.asarray(values, dtype=float) for values in (x, t_x, age))
    if not len(x) or (t_x > age + 1e-9).any() or (x < 0).any():
        raise ValueError("a purchase model needs customers with x >= 0 and 0 <= t_x <= T")
    unit = max(float(age.mean()), 1e-9)
    histories = np.column_stack([x, t_x / unit, age / unit])
    rows, weights = np.unique(histories, axis=0, return_counts=True)
    weights = weights / weights.sum()
    penalty = _PENALTY / len(x) ** 0.5

    def loss(logs: np.ndarray) -> float:
        model = BgNbd(*np.exp(np.clip(logs, -_BOUND, _BOUND)))
        return -float(weights @ model.log_likelihood(*rows.T)) + penalty * float(logs @ logs)

    start, options = np.log((1.0, 0.5, 0.5, 2.0)), {"maxiter": 300, "ftol": 1e-13, "gtol": 1e-8}
    with threadpool_limits(1):  # BLAS threads slow down a problem with four parameters
        optimum = minimize(loss, start, method="L-BFGS-B", options=options)
    r, alpha, a, b = np.exp(np.clip(optimum.x, -_BOUND, _BOUND))
    return BgNbd(float(r), float(alpha * unit), float(a), float(b))


_TERMS = 400


def power_series(a: float, b: float, c: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return 2F1(a, b; c; z) by its power series, (n,).

    `a`, `b`: a few units in size.
    `c`, `z`: (n,) any c; 0 ≤ z < 1.

    Notes
    -----
    scipy overflows when c is large. The terms of the series then shrink so fast that summing them
    is the best method.
    """
    values = np.asarray(hyp2f1(a, b, c, z), dtype=float)
    overflowed = ~np.isfinite(values)
    if overflowed.any():
        c, z = (np.broadcast_to(value, values.shape)[overflowed] for value in (c, z))
        term, total = np.ones(len(z)), np.ones(len(z))
        for k in range(_TERMS):
            term = term * (a + k) * (b + k) / ((c + k) * (1 + k)) * z
            total += term
        values[overflowed] = total
    return values
