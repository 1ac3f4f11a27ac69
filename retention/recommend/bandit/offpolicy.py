"""What a policy would have earned, told from decisions that another policy made and logged with their chances.

Inverse propensity scoring (Horvitz, Thompson 1952), self-normalised (Swaminathan, Joachims 2015) and doubly robust
(Dudík, Langford, Li 2011), each with a 95 % interval by the normal approximation over decisions.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SURE = 1.96


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean reward a decision, and its 95 % interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


def plain(reward: np.ndarray) -> Estimate:
    """What the logging policy itself earned."""
    return _of(reward)


def ips(reward: np.ndarray, logged: np.ndarray, target: np.ndarray) -> Estimate:
    """Unbiased where every action the target takes had a chance; noisy where that chance was small.

    Parameters
    ----------
    reward : ndarray, (n,)
    logged, target : ndarray, (n,)
        The chance of the action that was taken, under the policy that took it and under the one in question.

    Examples
    --------
    >>> ips(np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.array([1.0, 0.0])).value
    1.0
    """
    return _of(_weights(logged, target) * reward)


def snips(reward: np.ndarray, logged: np.ndarray, target: np.ndarray) -> Estimate:
    """Divided by the sum of the weights instead of n: a little bias, far less noise. Interval by the delta method."""
    weight = _weights(logged, target)
    total = weight.sum()
    if total <= 0:
        return Estimate(0.0, 0.0, 0.0)
    value = float((weight * reward).sum() / total)
    error = float(np.sqrt((weight**2 * (reward - value) ** 2).sum()) / total)
    return Estimate(value, value - SURE * error, value + SURE * error)


def doubly_robust(
    reward: np.ndarray,
    taken: np.ndarray,
    logged: np.ndarray,
    target: np.ndarray,
    predicted: np.ndarray,
) -> Estimate:
    """Unbiased where either the chances or the predictions are right, and less noisy than IPS where both nearly are.

    Parameters
    ----------
    taken : ndarray of int, (n,)
        Which action was taken.
    target, predicted : ndarray, (n × actions)
        The chances of the policy in question; the reward expected of each action, learned from other decisions.
    """
    rows = np.arange(len(taken))
    weight = _weights(logged, target[rows, taken])
    direct = (target * predicted).sum(axis=1)
    return _of(direct + weight * (reward - predicted[rows, taken]))


def effective(logged: np.ndarray, target: np.ndarray) -> float:
    """How many decisions the weighted ones are worth: (Σ w)² / Σ w²."""
    weight = _weights(logged, target)
    squares = float((weight**2).sum())
    return float(weight.sum() ** 2 / squares) if squares else 0.0


def _weights(logged: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Raises ValueError for an action that was taken without a chance: then nothing can be told from the log."""
    if not ((logged > 0) & (logged <= 1)).all():
        raise ValueError("a logged chance is not above 0 and at most 1")
    made: Any = target / logged
    return made


def _of(values: np.ndarray) -> Estimate:
    count = len(values)
    value = float(values.mean()) if count else 0.0
    error = float(values.std(ddof=1) / np.sqrt(count)) if count > 1 else float("inf")
    return Estimate(value, value - SURE * error, value + SURE * error)
