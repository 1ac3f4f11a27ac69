"""BG/NBD: who buys may stop right after a repeat purchase.

Fader, Hardie, Lee (2005), "Counting Your Customers" the Easy Way: An Alternative to the Pareto/NBD Model, Marketing
Science 24 (2).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from retention.value.contract import PurchaseModel, checked, maximum_likelihood
from retention.value.hypergeometric import power_series


@dataclass(frozen=True, slots=True)
class BgNbd(PurchaseModel):
    """A fitted BG/NBD.

    Parameters
    ----------
    r, alpha : float
        Gamma of the purchase rate.
    a, b : float
        Beta of the chance to stop after a repeat purchase.
    """

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Log-likelihood of each customer, (n,)."""
        x = np.asarray(x, dtype=float)
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        common = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
        common = common + gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x)
        stays = -(r + x) * np.log(alpha + age)
        leaves = np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + t_x)
        return common + np.where(x > 0, np.logaddexp(stays, leaves), stays)

    def alive(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """P(still a customer), (n,). Never use its complement as churn risk: see `no_purchase`."""
        x = np.asarray(x, dtype=float)
        ratio = (self.r + x) * (np.log(self.alpha + age) - np.log(self.alpha + t_x))
        odds = self.a / (self.b + np.maximum(x, 1) - 1) * np.exp(np.minimum(ratio, 700))
        return 1 / (1 + np.where(x > 0, odds, 0.0))

    def no_purchase(
        self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, horizon: float
    ) -> np.ndarray:
        """P(no purchase within ``horizon`` from now), (n,)."""
        x = np.asarray(x, dtype=float)
        none_if_alive = np.exp(
            -(self.r + x) * (np.log(self.alpha + age + horizon) - np.log(self.alpha + age))
        )
        return 1 - self.alive(x, t_x, age) * (1 - none_if_alive)

    def expected(
        self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, horizon: float
    ) -> np.ndarray:
        """E[purchases within ``horizon`` from now], (n,)."""
        x = np.asarray(x, dtype=float)
        a = off_one(self.a)
        z = horizon / (self.alpha + age + horizon)
        # Euler's transformation of the paper's series, whose terms overflow for frequent buyers
        series = power_series(a + self.b - 1 - self.r, a - 1, a + self.b + x - 1, z)
        gone = 1 - np.exp((a - 1) * np.log1p(-z)) * series
        return (a + self.b + x - 1) / (a - 1) * gone * self.alive(x, t_x, age)


def off_one(value: float) -> float:
    """The value, or one so near to 1 that the formulas, which divide 0 by 0 there, give their limit."""
    return value if abs(value - 1) > 1e-6 else 1 + 1e-6


def fit(x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> BgNbd:
    """Maximum likelihood of (n,) customers.

    Raises
    ------
    ValueError
        Without a customer, or with a last purchase after now.
    """
    x, t_x, age = checked(x, t_x, age)
    (r, alpha, a, b), unit = maximum_likelihood(BgNbd, (1.0, 0.5, 0.5, 2.0), x, t_x, age)
    return BgNbd(float(r), float(alpha * unit), float(a), float(b))
