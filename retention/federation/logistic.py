"""Logistic regression by sums that several desks can add up.

Runs in the environment of flwr, so it needs numpy alone. All rows weigh the same, at every desk.
"""

from collections.abc import Sequence

import numpy as np

RIDGE = 1e-3  # of the mean loss; keeps the coefficient of an empty column at 0


def objective(weights: np.ndarray, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return mean loss, gradient and upper half of the Hessian in one vector."""
    z = X @ weights
    churn = 1 / (1 + np.exp(-z))
    loss = np.mean(np.logaddexp(0, z) - y * z)
    gradient = X.T @ (churn - y) / len(y)
    hessian = (X * (churn * (1 - churn))[:, None]).T @ X / len(y)
    return np.concatenate([[loss], gradient, hessian[np.triu_indices(len(weights))]])


def newton_step(weights: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return the next weights from the desks' weighted mean of `objective`."""
    size = len(weights)
    gradient = vector[1 : 1 + size] + RIDGE * weights
    return weights - np.linalg.solve(_square(vector[1 + size :], size), gradient)


def is_plausible(vector: np.ndarray, size: int, largest: float) -> bool:
    """Whether a mean of `objective` is possible with features in ±`largest`.

    A desk that sends anything else moves the masked sum out of these bounds with near certainty.
    """
    gradient, hessian = vector[1 : 1 + size], _square(vector[1 + size :], size)
    return bool(
        np.isfinite(vector).all()
        and vector[0] >= 0
        and np.abs(gradient).max() <= largest
        and np.linalg.eigvalsh(hessian).min() > 0
        and np.trace(hessian) <= size * largest**2 / 4 + size * RIDGE
    )


def shares(rows: Sequence[int], most: float) -> list[float]:
    """Return each desk's share of the mean: by its rows, with at most `most` × their median."""
    counted = np.minimum(rows, most * np.median(rows))
    return list(counted / counted.sum())


def _square(half: np.ndarray, size: int) -> np.ndarray:
    square = np.zeros((size, size))
    square[np.triu_indices(size)] = half
    return square + np.triu(square, 1).T + RIDGE * np.eye(size)
