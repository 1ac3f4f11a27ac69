"""How well expected spend ranks customers."""

import numpy as np


def normalised_gini(actual: np.ndarray, expected: np.ndarray) -> float:
    """Gini of ``actual`` (n,) in the order of ``expected`` (n,), over that of the best order: 1 is a perfect ranking."""
    return _gini(actual, expected) / _gini(actual, actual)


def _gini(actual: np.ndarray, order: np.ndarray) -> float:
    held = np.cumsum(np.asarray(actual, dtype=float)[np.argsort(-np.asarray(order), kind="stable")])
    return float(2 * held.mean() / held[-1] - 1 - 1 / len(held))
