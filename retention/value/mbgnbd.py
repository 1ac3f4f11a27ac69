"""MBG/NBD: who buys may stop right after any purchase, the first one included; so one-time buyers may be gone.

Batislam, Denizel, Filiztekin (2007), Empirical Validation and Comparison of Models for Customer Base Analysis,
International Journal of Research in Marketing 24 (3).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, gammaln

from retention.value.bgnbd import off_one
from retention.value.contract import PurchaseModel, checked, maximum_likelihood
from retention.value.hypergeometric import power_series


@dataclass(frozen=True, slots=True)
class MbgNbd(PurchaseModel):
    """A fitted MBG/NBD.

    Parameters
    ----------
    r, alpha : float
        Gamma of the purchase rate.
    a, b : float
        Beta of the chance to stop after a purchase, the first included.
    """

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Log-likelihood of each customer, (n,)."""
        x = np.asarray(x, dtype=float)
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
        stays = betaln(a, b + x + 1) - (r + x) * np.log(alpha + age)
        leaves = betaln(a + 1, b + x) - (r + x) * np.log(alpha + t_x)
        return common + np.logaddexp(stays, leaves)

    def alive(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """P(still a customer), (n,). Never use its complement as churn risk: see `no_purchase`."""
        x = np.asarray(x, dtype=float)
        ratio = (self.r + x) * (np.log(self.alpha + age) - np.log(self.alpha + t_x))
        return 1 / (1 + self.a / (self.b + x) * np.exp(np.minimum(ratio, 700)))

    def expected(
        self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, horizon: float
    ) -> np.ndarray:
        """E[purchases within ``horizon`` from now], (n,)."""
        x = np.asarray(x, dtype=float)
        a = off_one(self.a)
        z = horizon / (self.alpha + age + horizon)
        # Euler's transformation of the paper's series, whose terms overflow for frequent buyers
        series = power_series(a + self.b - self.r, a - 1, a + self.b + x, z)
        gone = 1 - np.exp((a - 1) * np.log1p(-z)) * series
        return (a + self.b + x) / (a - 1) * gone * self.alive(x, t_x, age)


def fit(x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> MbgNbd:
    """Maximum likelihood of (n,) customers.

    Raises
    ------
    ValueError
        Without a customer, or with a last purchase after now.
    """
    x, t_x, age = checked(x, t_x, age)
    (r, alpha, a, b), unit = maximum_likelihood(MbgNbd, (1.0, 0.5, 0.5, 2.0), x, t_x, age)
    return MbgNbd(float(r), float(alpha * unit), float(a), float(b))
