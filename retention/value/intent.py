"""Purchase intent: the probability of an order within 7, 30 and 90 days, coherent across horizons.

A discrete-time hazard model (Singer, Willett 1993, It's About Time, J. Educational Statistics 18): for each of a few
stretches of days a logistic regression of "orders in it" among those who have not ordered before it. The probabilities of
all horizons come from the same hazards, so they can only grow with the horizon. One input of each regression is the hazard
that the purchase model's closed form gives; where a stretch has too few outcomes to learn from, that is the hazard itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

HORIZONS = (7, 30, 90)  # days
EDGES = (0.0, 7.0, 14.0, 30.0, 60.0, 90.0)
_LEAST = 50  # outcomes of each kind, to learn a stretch
_BETWEEN = (1e-6, 1 - 1e-6)  # that hazards are kept, so that each can be raised and lowered
_STRENGTH = 0.03  # inverse of the L2 penalty


@dataclass(frozen=True, slots=True)
class Past:
    """Customers at an earlier moment, and what has come since.

    ``X`` (n, k) features, missing as NaN; ``hazards`` (n, stretches) by the closed form; ``wait`` (n,) days to the next
    order day, infinite where none has come in the ``followed`` days that are known.
    """

    X: np.ndarray
    hazards: np.ndarray
    wait: np.ndarray
    followed: float


@dataclass(frozen=True, slots=True)
class Intent:
    """A fitted model of intent; plain numbers, so that it travels inside an artefact as JSON.

    ``weights`` holds for each stretch the intercept, the features' weights and the closed form's; None where the
    closed form stands alone. Features are signed-log'd, imputed by ``median`` and scaled by ``mean`` and ``sd``.
    """

    columns: tuple[str, ...]
    median: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    weights: tuple[tuple[float, ...] | None, ...]

    def hazards(self, X: np.ndarray, closed: np.ndarray) -> np.ndarray:
        """P(order in a stretch | none before it), (n, stretches), of (n, k) features and the closed form's hazards."""
        Z = self._scaled(X)
        found = np.array(closed, dtype=float)
        for place, weights in enumerate(self.weights):
            if weights is not None:
                w = np.asarray(weights)
                found[:, place] = expit(w[0] + Z @ w[1:-1] + w[-1] * _logit(closed[:, place]))
        return np.clip(found, *_BETWEEN)

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "columns": list(self.columns),
            "median": list(self.median),
            "mean": list(self.mean),
            "sd": list(self.sd),
            "weights": [None if w is None else list(w) for w in self.weights],
        }

    @classmethod
    def from_dict(cls, held: dict[str, Any]) -> "Intent":
        """From JSON."""
        weights = tuple(None if one is None else tuple(one) for one in held["weights"])
        median, mean, sd = (tuple(held[name]) for name in ("median", "mean", "sd"))
        return cls(tuple(held["columns"]), median, mean, sd, weights)

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        Z = np.sign(X) * np.log1p(np.abs(X))
        Z = np.where(np.isnan(Z), np.asarray(self.median), Z)
        return (Z - np.asarray(self.mean)) / np.asarray(self.sd)


def fit(columns: Sequence[str], past: Sequence[Past]) -> Intent:
    """Learn the hazards of each stretch from moments that are followed to its end.

    Parameters
    ----------
    columns : sequence of str
        Names of the k features.
    past : sequence of Past
        At least one.
    """
    X = np.concatenate([one.X for one in past])
    Z = np.sign(X) * np.log1p(np.abs(X))
    empty = np.isnan(Z).all(axis=0)
    median = np.where(empty, 0.0, np.nanmedian(np.where(empty, 0.0, Z), axis=0))
    Z = np.where(np.isnan(Z), median, Z)
    mean, sd = Z.mean(axis=0), Z.std(axis=0)
    plain = Intent(
        tuple(columns), _plain(median), _plain(mean), _plain(np.where(sd > 0, sd, 1.0)), ()
    )
    weights = tuple(_stretch(plain, past, place) for place in range(len(EDGES) - 1))
    return Intent(plain.columns, plain.median, plain.mean, plain.sd, weights)


def within(hazards: np.ndarray, days: float) -> np.ndarray:
    """P(order within ``days``), (n,), of (n, stretches) hazards; within a stretch the rate is constant."""
    return -np.expm1(log_silence(hazards, days))


def log_silence(hazards: np.ndarray, days: float) -> np.ndarray:
    """Logarithm of P(no order within ``days``), (n,), of (n, stretches) hazards."""
    survival = np.cumsum(np.log1p(-np.clip(hazards, 0, 1 - 1e-12)), axis=1)
    at = np.column_stack([np.zeros(len(hazards)), survival])
    place = int(np.clip(np.searchsorted(EDGES, days) - 1, 0, len(EDGES) - 2))
    share = (days - EDGES[place]) / (EDGES[place + 1] - EDGES[place])
    found: np.ndarray = at[:, place] + share * (at[:, place + 1] - at[:, place])
    return found


def anchored(hazards: np.ndarray, log_silent: np.ndarray, silent: np.ndarray) -> np.ndarray:
    """Proportional hazards (Cox 1972): one factor a customer, so that P(no order) until some day is what it should be.

    Parameters
    ----------
    hazards : ndarray (n, stretches)
        Above 0 and below 1.
    log_silent : ndarray (n,)
        Logarithm of the probability by these hazards.
    silent : ndarray (n,)
        The probability as it is known better.
    """
    factor = np.log(np.clip(silent, *_BETWEEN)) / log_silent
    found: np.ndarray = -np.expm1(factor[:, None] * np.log1p(-hazards))
    return found


def by_when(hazards: np.ndarray, share: float) -> np.ndarray:
    """Days by which a ``share`` of those who order within the longest horizon has done so, (n,)."""
    survival = np.cumsum(np.log1p(-np.clip(hazards, 1e-12, 1 - 1e-12)), axis=1)
    at = np.column_stack([np.zeros(len(hazards)), survival])
    wanted = np.log1p(share * np.expm1(at[:, -1]))
    place = np.clip((at > wanted[:, None]).sum(axis=1) - 1, 0, len(EDGES) - 2)
    rows, edges = np.arange(len(at)), np.asarray(EDGES)
    inside = (wanted - at[rows, place]) / (at[rows, place + 1] - at[rows, place])
    return edges[place] + inside * (edges[place + 1] - edges[place])


def closed_form(none_until: Sequence[np.ndarray]) -> np.ndarray:
    """Hazards (n, stretches) from P(no order) until each edge after the first, each (n,)."""
    survival = np.column_stack([np.ones(len(none_until[0])), *none_until])
    return np.clip(1 - survival[:, 1:] / np.maximum(survival[:, :-1], 1e-12), *_BETWEEN)


def _stretch(plain: Intent, past: Sequence[Past], place: int) -> tuple[float, ...] | None:
    """Weights of one stretch, learned from whoever was still without an order when it began."""
    begin, end = EDGES[place], EDGES[place + 1]
    known = [(one, one.wait >= begin) for one in past if one.followed >= end]
    if not known:
        return None
    y = np.concatenate([one.wait[still] < end for one, still in known])
    if min(y.sum(), (~y).sum()) < _LEAST:
        return None
    Z = np.concatenate([plain._scaled(one.X[still]) for one, still in known])
    base = _logit(np.concatenate([one.hazards[still, place] for one, still in known]))
    with threadpool_limits(1):
        learned = LogisticRegression(C=_STRENGTH, max_iter=1000).fit(np.column_stack([Z, base]), y)
    return _plain(np.concatenate([learned.intercept_, learned.coef_[0]]))


def _logit(p: np.ndarray) -> np.ndarray:
    return logit(np.clip(p, 1e-6, 1 - 1e-6))


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.8g}") for value in values)
