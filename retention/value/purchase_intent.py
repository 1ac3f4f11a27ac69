"""Purchase intent: P(order within 7, 30 and 90 days).

A discrete-time hazard model: for each interval of days, a logistic regression of "orders in it"
among the customers without an order before it. All horizons use the same hazards, so probabilities
never fall with the horizon. One input of each regression is the hazard of the purchase model's
closed form. An interval with too few outcomes uses that hazard directly.

References
----------
Singer, Willett (1993), It's About Time, Journal of Educational Statistics 18.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from retention.features.catalogue import signed_log

HORIZONS = (7, 30, 90)  # days
EDGES = (0.0, 7.0, 14.0, 30.0, 60.0, 90.0)
_MIN_OUTCOMES = 50  # of each class, to fit an interval
_HAZARD_RANGE = (1e-6, 1 - 1e-6)  # so that each hazard can be raised and lowered
_C = 0.03  # inverse of the L2 penalty


@dataclass(frozen=True, slots=True)
class IntentSample:
    """Customers at an earlier moment and their later orders.

    `wait`: (n,) days to the next order day; infinite without one in the observed days.
    `observed_days`: days after the moment with known orders.
    """

    X: np.ndarray
    hazards: np.ndarray
    wait: np.ndarray
    observed_days: float


@dataclass(frozen=True, slots=True)
class Intent:
    """A fitted model of purchase intent, stored as JSON in an artefact.

    Features become sign(x) · log(1 + |x|), are imputed by ``median`` and scaled by ``mean`` and
    ``sd``.
    """

    columns: tuple[str, ...]
    median: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    weights: tuple[tuple[float, ...] | None, ...]

    def hazards(self, X: np.ndarray, closed: np.ndarray) -> np.ndarray:
        """Return P(order in an interval | none before it), (n, intervals)."""
        Z = self._scaled(X)
        hazards = np.array(closed, dtype=float)
        for place, weights in enumerate(self.weights):
            if weights is not None:
                w = np.asarray(weights)
                hazards[:, place] = expit(w[0] + Z @ w[1:-1] + w[-1] * _logit(closed[:, place]))
        return np.clip(hazards, *_HAZARD_RANGE)

    def as_dict(self) -> dict[str, Any]:
        """Return the model as JSON."""
        lists = {name: list(getattr(self, name)) for name in ("columns", "median", "mean", "sd")}
        return {**lists, "weights": [None if w is None else list(w) for w in self.weights]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Intent":
        """Read the model from JSON."""
        weights = tuple(None if row is None else tuple(row) for row in data["weights"])
        names = ("columns", "median", "mean", "sd")
        return cls(**{name: tuple(data[name]) for name in names}, weights=weights)

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        Z = signed_log(X)
        Z = np.where(np.isnan(Z), np.asarray(self.median), Z)
        return (Z - np.asarray(self.mean)) / np.asarray(self.sd)


def fit(columns: Sequence[str], samples: Sequence[IntentSample]) -> Intent:
    """Fit the hazards of all intervals.

    `samples`: at least one. An interval uses the samples observed to its end.
    """
    Z = signed_log(np.concatenate([sample.X for sample in samples]))
    empty = np.isnan(Z).all(axis=0)
    median = np.where(empty, 0.0, np.nanmedian(np.where(empty, 0.0, Z), axis=0))
    Z = np.where(np.isnan(Z), median, Z)
    mean, sd = Z.mean(axis=0), Z.std(axis=0)
    sd = np.where(sd > 0, sd, 1.0)
    scaler = Intent(tuple(columns), _rounded(median), _rounded(mean), _rounded(sd), ())
    weights = tuple(_interval_weights(scaler, samples, place) for place in range(len(EDGES) - 1))
    return replace(scaler, weights=weights)


def order_probability(hazards: np.ndarray, days: float) -> np.ndarray:
    """Return P(order within ``days``), (n,)."""
    return -np.expm1(log_silence(hazards, days))


def log_silence(hazards: np.ndarray, days: float) -> np.ndarray:
    """Return the logarithm of P(no order within ``days``), (n,)."""
    at = _log_survival(hazards)
    place = int(np.clip(np.searchsorted(EDGES, days) - 1, 0, len(EDGES) - 2))
    share = (days - EDGES[place]) / (EDGES[place + 1] - EDGES[place])
    log_survival: np.ndarray = at[:, place] + share * (at[:, place + 1] - at[:, place])
    return log_survival


def anchor(hazards: np.ndarray, log_silent: np.ndarray, silent: np.ndarray) -> np.ndarray:
    """Adjust hazards to a better estimate of P(no order).

    Each customer's hazards get one factor (proportional hazards).

    `hazards`: (n, intervals), above 0 and below 1.
    `log_silent`: (n,) logarithm of P(no order) by these hazards.

    References
    ----------
    Cox (1972), Regression Models and Life-Tables, Journal of the Royal Statistical Society B 34.
    """
    factor = np.log(np.clip(silent, *_HAZARD_RANGE)) / log_silent
    adjusted: np.ndarray = -np.expm1(factor[:, None] * np.log1p(-hazards))
    return adjusted


def _log_survival(hazards: np.ndarray) -> np.ndarray:
    """Return the logarithm of P(no order) until each of `EDGES`."""
    survival = np.cumsum(np.log1p(-np.clip(hazards, 0, 1 - 1e-12)), axis=1)
    return np.column_stack([np.zeros(len(hazards)), survival])


def order_quantile(hazards: np.ndarray, share: float) -> np.ndarray:
    """Return a quantile of the day of the next order, (n,).

    `share`: share of the probability of an order within the longest horizon.
    """
    at = _log_survival(np.maximum(hazards, 1e-12))
    target = np.log1p(share * np.expm1(at[:, -1]))
    place = np.clip((at > target[:, None]).sum(axis=1) - 1, 0, len(EDGES) - 2)
    rows, edges = np.arange(len(at)), np.asarray(EDGES)
    inside = (target - at[rows, place]) / (at[rows, place + 1] - at[rows, place])
    return edges[place] + inside * (edges[place + 1] - edges[place])


def closed_form_hazards(none_until: Sequence[np.ndarray]) -> np.ndarray:
    """Convert P(no order) until each edge into hazards, (n, intervals).

    `none_until`: (n,) each, for each of `EDGES` after the first.
    """
    survival = np.column_stack([np.ones(len(none_until[0])), *none_until])
    return np.clip(1 - survival[:, 1:] / np.maximum(survival[:, :-1], 1e-12), *_HAZARD_RANGE)


def _interval_weights(
    scaler: Intent, samples: Sequence[IntentSample], place: int
) -> tuple[float, ...] | None:
    """Fit one interval on the customers without an order before it."""
    begin, end = EDGES[place], EDGES[place + 1]
    observed = [(sample, sample.wait >= begin) for sample in samples if sample.observed_days >= end]
    if not observed:
        return None
    y = np.concatenate([sample.wait[at_risk] < end for sample, at_risk in observed])
    if min(y.sum(), (~y).sum()) < _MIN_OUTCOMES:
        return None
    Z = np.concatenate([scaler._scaled(sample.X[at_risk]) for sample, at_risk in observed])
    base = _logit(np.concatenate([sample.hazards[at_risk, place] for sample, at_risk in observed]))
    with threadpool_limits(1):
        model = LogisticRegression(C=_C, max_iter=1000).fit(np.column_stack([Z, base]), y)
    return _rounded(np.concatenate([model.intercept_, model.coef_[0]]))


def _logit(p: np.ndarray) -> np.ndarray:
    return logit(np.clip(p, 1e-6, 1 - 1e-6))


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.8g}") for value in values)
