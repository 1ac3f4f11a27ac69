"""BG/NBD: how often people buy and when they stop (Fader, Hardie, Lee 2005, "Counting Your Customers" the Easy Way).

Of each customer it needs x (repeat purchases), t_x (time from the first to the last) and T (time since the first).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln, hyp2f1
from threadpoolctl import threadpool_limits

_PENALTY = 1e-4  # keeps a and b finite where hardly anybody stops


@dataclass(frozen=True, slots=True)
class BgNbd:
    """A fitted BG/NBD; its unit of time is that of the data it was fitted on.

    Parameters
    ----------
    r, alpha : float
        Gamma of the purchase rate.
    a, b : float
        Beta of the chance to stop after a purchase.
    """

    r: float
    alpha: float
    a: float
    b: float

    def alive(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """P(still a customer), (n,). Never use its complement as churn risk: see `no_purchase`."""
        x = np.asarray(x, dtype=float)
        ratio = (self.r + x) * (np.log(self.alpha + age) - np.log(self.alpha + t_x))
        odds = np.where(x > 0, self.a / (self.b + np.maximum(x, 1) - 1) * np.exp(np.minimum(ratio, 700)), 0.0)
        return 1 / (1 + odds)

    def no_purchase(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, horizon: float) -> np.ndarray:
        """P(no purchase within ``horizon`` from now), (n,)."""
        x = np.asarray(x, dtype=float)
        none_if_alive = np.exp(
            -(self.r + x) * (np.log(self.alpha + age + horizon) - np.log(self.alpha + age))
        )
        return 1 - self.alive(x, t_x, age) * (1 - none_if_alive)

    def expected(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, horizon: float) -> np.ndarray:
        """E[purchases within ``horizon`` from now], (n,)."""
        x = np.asarray(x, dtype=float)
        z = horizon / (self.alpha + age + horizon)
        power = np.exp((self.r + x) * np.log1p(-z))
        series = hyp2f1(self.r + x, self.b + x, self.a + self.b + x - 1, z)
        return (self.a + self.b + x - 1) / (self.a - 1) * (1 - power * series) * self.alive(x, t_x, age)

    def rate_if_alive(self, x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Posterior mean of the purchase rate while still a customer, (n,)."""
        return (self.r + np.asarray(x, dtype=float)) / (self.alpha + age)

    def median_wait_if_alive(self, x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Median time to the next purchase of who is still a customer, (n,)."""
        return (self.alpha + age) * np.expm1(np.log(2) / (self.r + np.asarray(x, dtype=float)))


def log_likelihood(model: BgNbd, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Log-likelihood of each customer, (n,)."""
    r, alpha, a, b = model.r, model.alpha, model.a, model.b
    common = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    common = common + gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
    stays = -(r + x) * np.log(alpha + age)
    leaves = np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t_x)
    return common + np.where(x > 0, np.logaddexp(stays, leaves), stays)


def fit(x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> BgNbd:
    """Maximum likelihood of (n,) customers.

    Equal customers are folded together and time is scaled to one mean age, so that any unit converges alike.

    Raises
    ------
    ValueError
        Without a customer, or with a last purchase after now.
    """
    x, t_x, age = (np.asarray(values, dtype=float) for values in (x, t_x, age))
    if not len(x) or (t_x > age + 1e-9).any() or (x < 0).any():
        raise ValueError("BG/NBD needs customers with x >= 0 and 0 <= t_x <= T")
    scale = max(float(age.mean()), 1e-9)
    rows, weights = np.unique(np.column_stack([x, t_x / scale, age / scale]), axis=0, return_counts=True)
    weights = weights / weights.sum()

    def loss(logs: np.ndarray) -> float:
        model = BgNbd(*np.exp(np.clip(logs, -12, 12)))
        return (
            -float(weights @ log_likelihood(model, *rows.T)) + _PENALTY * float(logs @ logs) / len(x) ** 0.5
        )

    with threadpool_limits(1):  # BLAS threads for four numbers only wait for each other
        found = minimize(
            loss, np.log([1.0, 0.5, 0.5, 2.0]), method="L-BFGS-B", options={"maxiter": 300, "ftol": 1e-12}
        )
    r, alpha, a, b = (float(value) for value in np.exp(np.clip(found.x, -12, 12)))
    return BgNbd(r, alpha * scale, a, b)
