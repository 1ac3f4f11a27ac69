"""Calibrate churn probabilities on out-of-time predictions.

The map is fitted on predictions of earlier models for later customers. It is then applied to a
model fitted on all snapshots, so calibration costs no data. Its parameters are shrunk to the
identity, because one season's error must not be carried into the next.

From 13 months on the features know the season, and each origin's remaining error is mostly its own
season's. Then only a shift is fitted, as the mean of a random-effects model: origins differ more
than their common error, so about a fifth of their mean is carried on
(docs/data_scientist/calibration.md).

References
----------
DerSimonian, Laird (1986), Meta-Analysis in Clinical Trials, Controlled Clinical Trials 7.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.isotonic import IsotonicRegression

MIN_CHURNERS_ISOTONIC = 1000  # below, fit two parameters only
MIN_CHURNERS = 20  # and as many who stay; below, fit nothing
_PRIOR_PRECISION = 25.0  # around slope 1 and shift 0
# per origin: its season shifts all customers together (.15 of the log-odds)
_EFFECTIVE_CUSTOMERS = 250.0
# of shifts of the log-odds, where the features know the season
_SEASON_VARIANCE, _COMMON_VARIANCE = 0.05, 0.005  # between origins; of their mean
_NEWTON_STEPS = 20


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Return log-odds, finite also for 0 and 1."""
    return logit(np.clip(probability, 1e-6, 1 - 1e-6))


class ChurnProbability(ClassifierMixin, BaseEstimator, ABC):
    """Base of classifiers made of fitted parts: log-odds and classes follow from P(churn)."""

    classes_ = np.array([0.0, 1.0])

    @abstractmethod
    def churn(self, X: np.ndarray) -> np.ndarray:
        """Return P(churn), (n,)."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Do nothing; the parts are fitted."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return P(stays), P(churns), (n, 2)."""
        churn = self.churn(X)
        return np.column_stack([1 - churn, churn])

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return log-odds of churn, (n,)."""
        return log_odds(self.predict_proba(X)[:, 1])

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return classes at even odds, (n,) 0 or 1."""
        return (self.predict_proba(X)[:, 1] >= 0.5).astype(float)


class Calibrated(ChurnProbability):
    """A fitted classifier with a map of its log-odds.

    Parameters
    ----------
    estimator : fitted classifier
        With a ``decision_function`` in log-odds.
    slope, shift : float
        log-odds → shift + slope · log-odds.
    steps : sequence of two (m,) arrays, optional
        Piecewise linear map of the resulting probabilities, from the first to the second array
        (isotonic).
    """

    def __init__(
        self,
        estimator: BaseEstimator = None,
        slope: float = 1.0,
        shift: float = 0.0,
        steps: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.estimator = estimator
        self.slope = slope
        self.shift = shift
        self.steps = steps

    def map(self, probability: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, (n,)."""
        mapped = expit(self.shift + self.slope * log_odds(probability))
        return mapped if self.steps is None else np.interp(mapped, self.steps[0], self.steps[1])

    def churn(self, X: np.ndarray) -> np.ndarray:
        """Return P(churn), (n,)."""
        return self.map(self.estimator.predict_proba(X)[:, 1])


def fit_calibration(
    probabilities: Sequence[np.ndarray], labels: Sequence[np.ndarray], *, has_season: bool = False
) -> tuple[Calibrated, str]:
    """Choose and fit the calibration map by cross-fitting.

    `probabilities`, `labels`: (n,) out of time, one pair per origin. A single origin is split by
    customer.
    Returns: without an estimator.
    """
    y = np.concatenate([*labels, np.empty(0)])
    churners = int(y.sum())
    if not MIN_CHURNERS <= churners <= len(y) - MIN_CHURNERS:
        return Calibrated(), "none"
    every = [(origin, slice(None)) for origin in range(len(labels))]
    if has_season:
        return fit_map("shift", probabilities, labels, every), "shift"
    # within a single origin, isotonic steps would learn its season
    allow_isotonic = churners >= MIN_CHURNERS_ISOTONIC and len(labels) > 1
    methods = ("sigmoid", "isotonic") if allow_isotonic else ("sigmoid",)
    folds = cross_fit_splits(labels)
    losses = {
        method: sum(
            _log_loss(
                fit_map(method, probabilities, labels, train).map(probabilities[origin][rows]),
                labels[origin][rows],
            )
            for train, origin, rows in folds
        )
        for method in methods
    }
    best = min(methods, key=lambda method: losses[method])
    return fit_map(best, probabilities, labels, every), best


Rows = slice
TrainingRows = Sequence[tuple[int, Rows]]


def cross_fit_splits(
    labels: Sequence[np.ndarray],
) -> list[tuple[list[tuple[int, Rows]], int, Rows]]:
    """Split the origins into training and test rows."""
    if len(labels) == 1:
        even, odd = slice(0, None, 2), slice(1, None, 2)
        return [([(0, even)], 0, odd), ([(0, odd)], 0, even)]
    origins = range(len(labels))
    return [
        ([(origin, slice(None)) for origin in origins if origin != held_out], held_out, slice(None))
        for held_out in origins
    ]


def fit_map(
    method: str,
    probabilities: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    train: TrainingRows,
) -> Calibrated:
    """Fit one kind of map."""
    if method == "none":
        return Calibrated()
    if method == "shift":
        rows_of = [(probabilities[origin][rows], labels[origin][rows]) for origin, rows in train]
        return Calibrated(shift=_common_shift(rows_of))
    p = np.concatenate([probabilities[origin][rows] for origin, rows in train])
    y = np.concatenate([labels[origin][rows] for origin, rows in train])
    sizes = [len(labels[origin][rows]) for origin, rows in train]
    weight = np.repeat([min(1.0, _EFFECTIVE_CUSTOMERS / max(size, 1)) for size in sizes], sizes)
    slope, shift = fit_sigmoid(p, y, weight)
    if method == "sigmoid":
        return Calibrated(slope=slope, shift=shift)
    steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, y)
    shrinkage = shift - fit_sigmoid(p, y, np.ones(len(y)))[1]
    probability = steps.y_thresholds_
    return Calibrated(steps=(steps.X_thresholds_, expit(log_odds(probability) + shrinkage)))


def _common_shift(origins: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return the expected shift of log-odds at a new origin.

    The prior of the common shift has mean 0.
    """
    precisions, shifts = [], []
    for probability, y in origins:
        shift, information = _origin_shift(log_odds(probability), y)
        precisions.append(1 / (1 / information + _SEASON_VARIANCE))
        shifts.append(shift)
    return float(np.dot(precisions, shifts) / (sum(precisions) + 1 / _COMMON_VARIANCE))


def _origin_shift(margin: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return an origin's shift by maximum likelihood and its information.

    One churner and one who stays are added, so that the shift is finite.
    """
    margin, y = np.append(margin, [0.0, 0.0]), np.append(y, [0.0, 1.0])
    shift, information = 0.0, 1.0
    for _ in range(_NEWTON_STEPS):
        expected = expit(shift + margin)
        information = float((expected * (1 - expected)).sum())
        shift += float(np.clip((y - expected).sum() / information, -1, 1))
    return shift, information


def fit_sigmoid(probability: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Fit slope and shift of the log-odds.

    Penalised, weighted maximum likelihood with a prior at slope 1 and shift 0.

    `probability`, `y`, `weight`: (n,) probabilities, labels and weights.

    References
    ----------
    Platt (1999), Probabilistic Outputs for Support Vector Machines.
    """
    raw = log_odds(probability)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        slope, shift = values
        margin = shift + slope * raw
        error = weight * (expit(margin) - y)
        value = weight @ (np.logaddexp(0, margin) - y * margin)
        prior = _PRIOR_PRECISION / 2 * ((slope - 1) ** 2 + shift**2)
        gradient = np.array(
            [error @ raw + _PRIOR_PRECISION * (slope - 1), error.sum() + _PRIOR_PRECISION * shift]
        )
        return float(value + prior), gradient

    slope, shift = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    return float(slope), float(shift)


def _log_loss(probability: np.ndarray, y: np.ndarray) -> float:
    p = np.clip(probability, 5e-4, 1 - 5e-4)
    return float(-(np.log(np.where(y == 1, p, 1 - p))).mean())
