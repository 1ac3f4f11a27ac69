"""Gamma-Gamma: what a customer spends per purchase, drawn towards everyone's (Fader, Hardie 2013)."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln
from threadpoolctl import threadpool_limits


@dataclass(frozen=True, slots=True)
class GammaGamma:
    """Spend per purchase is Gamma(p, ν), and ν is Gamma(q, v) over customers."""

    p: float
    q: float
    v: float

    def expected(self, x: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """E[spend per purchase] of customers with ``x`` purchases of ``mean`` money each, (n,); x = 0: everyone's."""
        x = np.asarray(x, dtype=float)
        own = np.where(x > 0, np.nan_to_num(mean), 0.0)
        return self.p * (self.v + x * own) / (self.p * x + self.q - 1)


def log_likelihood(model: GammaGamma, x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Log-likelihood of each customer, (n,)."""
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
    """Maximum likelihood of customers with x > 0 purchases of mean > 0 money; the others are left out.

    Raises
    ------
    ValueError
        Without such a customer.
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

    with threadpool_limits(1):  # BLAS threads for four numbers only wait for each other
        found = model(minimize(loss, np.zeros(3), method="L-BFGS-B", options={"ftol": 1e-12}).x)
    return GammaGamma(found.p, found.q, found.v * scale)
