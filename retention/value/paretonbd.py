"""Pareto/NBD purchase model: customers may drop out at any time.

Dropout rates are Gamma(s, β) distributed over customers.

References
----------
Schmittlein, Morrison, Colombo (1987), Counting Your Customers: Who Are They and What Will They Do
Next?, Management Science 33 (1).

Fader, Hardie (2005), A Note on Deriving the Pareto/NBD Model and Related Expressions.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from retention.value.hypergeometric import first_one
from retention.value.purchase_model import PurchaseModel, maximum_likelihood, validate_histories


@dataclass(frozen=True, slots=True)
class ParetoNbd(PurchaseModel):
    """A fitted ParetoNbd.

    Parameters
    ----------
    r, alpha : float
        Shape and rate of the Gamma distribution of purchase rates.
    s, beta : float
        Shape and rate of the Gamma distribution of dropout rates.
    """

    r: float
    alpha: float
    s: float
    beta: float

    def log_likelihood(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Return the log-likelihood of each customer, (n,)."""
        x = np.asarray(x, dtype=float)
        both = np.log(self.r + self.s + x)
        stopped = np.log(self.s) - both + self._integral(x, t_x, 1.0)
        still = np.log(self.r + x) - both + self._integral(x, age, 0.0)
        return self._common(x) + np.logaddexp(stopped, still)

    def alive(self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Return P(customer is still active), (n,).

        The complement is not the churn risk: use `no_purchase` for that.
        """
        x = np.asarray(x, dtype=float)
        still = -(self.r + x) * np.log(self.alpha + age) - self.s * np.log(self.beta + age)
        return np.exp(np.minimum(self._common(x) + still - self.log_likelihood(x, t_x, age), 0.0))

    def expected(
        self, x: np.ndarray, t_x: np.ndarray, age: np.ndarray, horizon: float
    ) -> np.ndarray:
        """Return E[purchases within ``horizon`` from now], (n,)."""
        x = np.asarray(x, dtype=float)
        passed = np.log(self.beta + age + horizon) - np.log(self.beta + age)
        lower = self.s - 1
        time = passed if abs(lower) < 1e-9 else -np.expm1(-lower * passed) / lower
        return (
            (self.r + x) * (self.beta + age) / (self.alpha + age) * time * self.alive(x, t_x, age)
        )

    def _common(self, x: np.ndarray) -> np.ndarray:
        gammas = gammaln(self.r + x) - gammaln(self.r)
        return gammas + self.r * np.log(self.alpha) + self.s * np.log(self.beta)

    def _integral(self, x: np.ndarray, at: np.ndarray, stopped: float) -> np.ndarray:
        """Return the log of 2F1(r+s+x, b; r+s+x+1; z) / (γ + at)^(r+s+x).

        γ = max(α, β) and z = |α − β| / (γ + at). Euler's transformation gives (1 − z)^(1−b) ·
        2F1(1, r+s+x+1−b; r+s+x+1; z). The power overflows for frequent buyers, so it stays a
        logarithm. The other factor is between 1 and 1 / (1 − z).
        """
        whole = self.r + self.s + x
        other = self.s + stopped if self.alpha >= self.beta else self.r + x + 1 - stopped
        z = abs(self.alpha - self.beta) / (max(self.alpha, self.beta) + at)
        power = (1 - other) * np.log1p(-z) - whole * np.log(max(self.alpha, self.beta) + at)
        return power + np.log(first_one(whole + 1 - other, whole + 1, z))


def fit(x: np.ndarray, t_x: np.ndarray, age: np.ndarray) -> ParetoNbd:
    """Fit by maximum likelihood.

    Parameters
    ----------
    x, t_x, age : numpy.ndarray
        (n,) repeat purchases, time from the first to the last, and time since the first.

    Returns
    -------
    ParetoNbd
        In the unit of time of the data.

    Raises
    ------
    ValueError
        Without customers, or with a last purchase in the future.
    """
    x, t_x, age = validate_histories(x, t_x, age)
    (r, alpha, s, beta), unit = maximum_likelihood(ParetoNbd, (1.0, 0.5, 0.5, 0.5), x, t_x, age)
    return ParetoNbd(float(r), float(alpha * unit), float(s), float(beta * unit))
