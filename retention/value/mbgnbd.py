"""MBG/NBD purchase model: customers may drop out after any purchase.

The first purchase counts, too, so one-time buyers may be inactive.

References
----------
Batislam, Denizel, Filiztekin (2007), Empirical Validation and Comparison of Models for Customer
Base Analysis, International Journal of Research in Marketing 24 (3).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, gammaln

from retention.value.bgnbd import avoid_one
from retention.value.hypergeometric import power_series
from retention.value.purchase_model import PurchaseModel, maximum_likelihood, validate_histories


@dataclass(frozen=True, slots=True)
class MbgNbd(PurchaseModel):
    """A fitted MbgNbd.

    Parameters
    ----------
    r, alpha : float
        Shape and rate of the Gamma distribution of purchase rates.
    a, b : float
        Beta distribution of the probability of dropping out after a purchase, including the first.
    """

    r: float
    alpha: float
    a: float
    b: float

    def log_likelihood(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Return the log-likelihood of each customer, (n,)."""
        x = np.asarray(x, dtype=float)
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
        stays = betaln(a, b + x + 1) - (r + x) * np.log(alpha + age)
        leaves = betaln(a + 1, b + x) - (r + x) * np.log(alpha + t_x)
        return common + np.logaddexp(stays, leaves)

    def alive(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Return P(customer is still active), (n,).

        The complement is not the churn risk: use `no_purchase` for that.
        """
        x = np.asarray(x, dtype=float)
        ratio = (self.r + x) * (np.log(self.alpha + age) - np.log(self.alpha + t_x))
        return 1 / (1 + self.a / (self.b + x) * np.exp(np.minimum(ratio, 700)))

    def expected(
        self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, horizon: float
    ) -> np.ndarray:
        """Return E[purchases within ``horizon`` from now], (n,)."""
        x = np.asarray(x, dtype=float)
        a = avoid_one(self.a)
        z = horizon / (self.alpha + age + horizon)
        # Euler's transformation of the paper's series, whose terms overflow for frequent buyers
        series = power_series(a + self.b - self.r, a - 1, a + self.b + x, z)
        dropout = 1 - np.exp((a - 1) * np.log1p(-z)) * series
        return (a + self.b + x) / (a - 1) * dropout * self.alive(x, t_x, age)


def fit(x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> MbgNbd:
    """Fit by maximum likelihood.

    Parameters
    ----------
    x, t_x, age : numpy.ndarray
        (n,) repeat purchases, time from the first to the last, and time since the first.

    Returns
    -------
    MbgNbd
        In the unit of time of the data.

    Raises
    ------
    ValueError
        Without customers, or with a last purchase in the future.
    """
    x, t_x, age = validate_histories(x, t_x, age)
    (r, alpha, a, b), unit = maximum_likelihood(MbgNbd, (1.0, 0.5, 0.5, 2.0), x, t_x, age)
    return MbgNbd(float(r), float(alpha * unit), float(a), float(b))
