"""Descend along noisy sums over customers, at a stated privacy loss.

Runs in the environment of flwr, too, so it needs numpy alone.
"""

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

DELTA = 1e-6  # below one in the number of customers of a shop that the desk serves
COUNT_SHARE = 0.05  # of the budget, for the number of customers
# Chosen on the tuning cutoffs of tests/benchmarks/accuracy.py. Each step costs a part of the
# budget, so a small one buys few; without noise the descent converges.
_STEPS = ((4.0, 20), (inf, 100), (None, 3000))  # by ε below
LEARNING_RATE, MOMENTUM = 2.0, 0.8


def terms(epsilon: float) -> dict[str, Any]:
    """Return what a training costs, and in how many steps.

    Examples
    --------
    >>> terms(2.0)
    {'epsilon': 2.0, 'delta': 1e-06, 'steps': 20}
    """
    steps = next(number for below, number in _STEPS if below is None or epsilon < below)
    return {"epsilon": epsilon, "delta": DELTA, "steps": steps}


def descend(size: int, steps: int, gradient: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the mean weights of the second half of all steps, (size,).

    `gradient`: returns the mean over customers at given weights.
    """
    weights, velocity, path = np.zeros(size), np.zeros(size), []
    for _ in range(steps):
        velocity = MOMENTUM * velocity - LEARNING_RATE * gradient(weights)
        weights = weights + velocity
        path.append(weights)
    return np.asarray(np.mean(path[steps // 2 :], axis=0))
