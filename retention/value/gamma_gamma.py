"""Gamma-Gamma model of a customer's spend per purchase.

Each customer's mean is shrunk towards the mean of all customers.

References
----------
Fader, Hardie (2013), The Gamma-Gamma Model of Monetary Value.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln
from threadpoolctl import threadpool_limits


@dataclass(frozen=True, slots=True)
class GammaGamma:
    """Spend per purchase is Gamma(p, ν); ν is Gamma(q, v) over customers."""

    p: float
    q: float
    v: float

    def expected(self, x: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """Return E[spend per purchase], (n,).

        `x`, `mean`: (n,) purchases and their mean spend. For x = 0 the result is the mean of all
        customers.
        """
        x = np.asarray(x, dtype=float)
        own = np.where(x > 0, np.nan_to_num(mean), 0.0)
        return self.p * (self.v + x * own) / (self.p * x + self.q - 1)


def log_likelihood(model: GammaGamma, x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the log-likelihood of each customer, (n,)."""
    p, q, v = model.p, model.q, model.v
    return (
        gammaln(p * x + q)
        - gammaln(p * x)
        - gammaln(q)
        + q * np.log(v)
        + (p * x - 1) * np.log(mean)
        + p * x * np.log(x)
        - (p * x + q) * np.log(x * mean + v)
    )


def fit(x: np.ndarray, mean: np.ndarray) -> GammaGamma:
    """Fit by maximum likelihood to customers with positive spend.

    `x`, `mean`: (n,) purchases and their mean spend. Rows without a purchase or without a positive
    mean are ignored.
    """
    x, mean = np.asarray(x, dtype=float), np.asarray(mean, dtype=float)
    used = (x > 0) & (mean > 0)
    if not used.any():
        raise ValueError("Gamma-Gamma needs customers with purchases of a positive amount")
    x, mean = x[used], mean[used]
    scale = float(mean.mean())
    mean = mean / scale

    def model(logs: np.ndarray) -> GammaGamma:
        p, q, v = np.exp(np.clip(logs, -10, 10))
        return GammaGamma(float(p), 1 + float(q), float(v))  # q > 1: the mean exists

    def loss(logs: np.ndarray) -> float:
        return -float(log_likelihood(model(logs), x, mean).mean())

    with threadpool_limits(1):  # BLAS threads slow down a problem with three parameters
        fitted = model(minimize(loss, np.zeros(3), method="L-BFGS-B", options={"ftol": 1e-12}).x)
    return GammaGamma(fitted.p, fitted.q, fitted.v * scale)
