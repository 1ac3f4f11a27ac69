"""Estimate a policy's reward from logged decisions.

Inverse propensity scoring (Horvitz, Thompson 1952), self-normalised (Swaminathan, Joachims 2015)
and doubly robust (Dudík, Langford, Li 2011), each with a 95% interval by the normal approximation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Z_95 = 1.96


@dataclass(frozen=True, slots=True)
class Estimate:
    """Hold a mean reward with its 95% interval."""

    value: float
    low: float
    high: float


def ips(reward: np.ndarray, logged: np.ndarray, target: np.ndarray) -> Estimate:
    """Estimate by inverse propensity scoring.

    Unbiased if every action of the target policy had a chance; noisy if that chance was small.

    `logged`, `target`: probability of the action taken, under the logging and under the target
    policy.

    Examples
    --------
    >>> ips(np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.array([1.0, 0.0])).value
    1.0
    """
    return mean_reward(_weights(logged, target) * reward)


def snips(reward: np.ndarray, logged: np.ndarray, target: np.ndarray) -> Estimate:
    """Estimate by self-normalised inverse propensity scoring.

    Dividing by the sum of weights instead of n adds little bias and removes much noise. The
    interval uses the delta method.
    """
    weight = _weights(logged, target)
    total = weight.sum()
    if total <= 0:
        return Estimate(0.0, 0.0, 0.0)
    value = float((weight * reward).sum() / total)
    error = float(np.sqrt((weight**2 * (reward - value) ** 2).sum()) / total)
    return Estimate(value, value - Z_95 * error, value + Z_95 * error)


def doubly_robust(
    reward: np.ndarray,
    taken: np.ndarray,
    logged: np.ndarray,
    target: np.ndarray,
    predicted: np.ndarray,
) -> Estimate:
    """Estimate by the doubly robust method.

    Unbiased if the probabilities or the predictions are right; less noisy than IPS if both nearly
    are.

    `target`, `predicted`: probabilities of the target policy; expected reward of each action,
    fitted on other decisions.
    """
    rows = np.arange(len(taken))
    weight = _weights(logged, target[rows, taken])
    direct = (target * predicted).sum(axis=1)
    return mean_reward(direct + weight * (reward - predicted[rows, taken]))


def effective_sample_size(logged: np.ndarray, target: np.ndarray) -> float:
    """Compute the effective sample size. It is (Σ w)² / Σ w²."""
    weight = _weights(logged, target)
    squares = float((weight**2).sum())
    return float(weight.sum() ** 2 / squares) if squares else 0.0


def _weights(logged: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Compute importance weights."""
    if not ((logged > 0) & (logged <= 1)).all():
        raise ValueError("a logged chance is not above 0 and at most 1")
    weights: Any = target / logged
    return weights


def mean_reward(values: np.ndarray) -> Estimate:
    """Estimate a mean reward, such as the logging policy's."""
    count = len(values)
    value = float(values.mean()) if count else 0.0
    error = float(values.std(ddof=1) / np.sqrt(count)) if count > 1 else float("inf")
    return Estimate(value, value - Z_95 * error, value + Z_95 * error)
