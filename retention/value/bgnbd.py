"""BG/NBD purchase model: customers may drop out after each repeat purchase.

References
----------
Fader, Hardie, Lee (2005), "Counting Your Customers" the Easy Way: An Alternative to the Pareto/NBD
Model, Marketing Science 24 (2).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from retention.value.hypergeometric import power_series
from retention.value.purchase_model import PurchaseModel, maximum_likelihood, validate_histories


@dataclass(frozen=True, slots=True)
class BgNbd(PurchaseModel):
    """A fitted BgNbd.

    Parameters
    ----------
    r, alpha : float
        Shape and rate of the Gamma distribution of purchase rates.
    a, b : float
        Beta distribution of the probability of dropping out after a repeat purchase.
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
        none_if_alive = np.exp(
            -(self.r + x) * (np.log(self.alpha + age + horizon) - np.log(self.alpha + age))
        )
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


def avoid_one(value: float) -> float:
    """Move a value away from 1 by at least 1e-6.

    At exactly 1 the formulas divide 0 by 0; next to it they give their limit.
    """
    return value if abs(value - 1) > 1e-6 else 1 + 1e-6


def fit(x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> BgNbd:
    """Fit by maximum likelihood.

    Parameters
    ----------
    x, t_x, age : numpy.ndarray
        (n,) repeat purchases, time from the first to the last, and time since the first.

    Returns
    -------
    BgNbd
        In the unit of time of the data.

    Raises
    ------
    ValueError
        Without customers, or with a last purchase in the future.
    """
    x, t_x, age = validate_histories(x, t_x, age)
    (r, alpha, a, b), unit = maximum_likelihood(BgNbd, (1.0, 0.5, 0.5, 2.0), x, t_x, age)
    return BgNbd(float(r), float(alpha * unit), float(a), float(b))
