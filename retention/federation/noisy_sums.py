"""Sums of customers' gradients with a desk's share of the noise, before any masks.

Each desk adds discrete Gaussian noise, so that neither the server nor a desk sees an exact sum. The
shares of all desks but one make the noise that ε needs: one desk may subtract its own, and learns
no more, even together with the server. The total is not quite a discrete Gaussian. The difference
is of the order exp(−2π²σ²), with σ above 2**30 units (theorem 1 of the reference), so it is left
out.

Runs in the environment of flwr, so it needs numpy and OpenDP alone.

References
----------
Kairouz, Liu and Steinke (2021), The Distributed Discrete Gaussian Mechanism for Federated Learning
with Secure Aggregation.
"""

from math import hypot, sqrt

import numpy as np

from retention.privacy import descent, noise

UNIT = 2.0**32  # steps of a number in 1
MOST = 2**26  # customers; their sum stays far below 2**63 / UNIT, so that a false one shows
# Each customer also adds this, so that the noisy sum tells the number of customers.
COUNTED = sqrt(descent.COUNT_SHARE / (1 - descent.COUNT_SHARE))


def share_scale(epsilon: float, desks: int, size: int) -> float:
    """Return the σ of each desk's noise in units, for sums of `size` numbers.

    A customer moves a sum by at most the clipped gradient and the count, in L2. Rounding moves each
    number by up to ½; as much again is for the rounding of floats.
    """
    rho = noise.rho_of(epsilon, descent.DELTA) / descent.terms(epsilon)["steps"]
    most = UNIT * hypot(1, COUNTED) + sqrt(size)
    return most / sqrt(2 * rho * (desks - 1))


def customer_sum(
    weights: np.ndarray, X: np.ndarray, y: np.ndarray, customer: np.ndarray
) -> np.ndarray:
    """Return the sum of the customers' gradients and, last, of `COUNTED`, in units, (k + 1,).

    A customer's gradient is the mean over their rows, clipped to norm 1. Each customer's numbers
    are rounded before they are added, so adding is exact.

    `customer`: of each row, 0 to one below their number.
    """
    inputs = X / sqrt(X.shape[1])  # of norm 1 or less for values in ±1
    rows = inputs * (1 / (1 + np.exp(-inputs @ weights)) - y)[:, None]
    counts = np.bincount(customer)
    if len(counts) > MOST or not np.isfinite(rows).all():
        raise ValueError("not_finite")
    means = np.zeros((len(counts), X.shape[1]))
    np.add.at(means, customer, rows / counts[customer, None])
    clipped = means / np.maximum(1, np.linalg.norm(means, axis=1))[:, None]
    numbers = np.column_stack([clipped, np.full(len(counts), COUNTED)])
    return np.asarray(np.round(numbers * UNIT).astype(np.int64).sum(axis=0))


def mean_gradient(total: np.ndarray, noise_scale: float, counts: list[float]) -> np.ndarray | None:
    """Return the mean over all customers; none if no desks can have such a sum.

    `noise_scale`: σ of all noise, in units. Ten of it are exceeded never.
    `counts`: customers by the earlier sums; this one is added. Their mean is the divisor, but at
    least twice its own noise: else a small count by chance would make a huge step.
    """
    gradient, count = total[:-1] / UNIT, float(total[-1]) / UNIT / COUNTED
    spread = noise_scale / UNIT / COUNTED
    if np.abs(gradient).max() > count + 20 * spread or count > MOST + 10 * spread:
        return None
    counts.append(count)
    least = 2 * spread / sqrt(len(counts))
    return np.asarray(gradient / max(float(np.mean(counts)), least))


def model_weights(weights: np.ndarray) -> np.ndarray:
    """Return the weights of the columns that `customer_sum` scales."""
    return weights / sqrt(len(weights))
