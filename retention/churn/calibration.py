"""Calibration learned out of time: from what earlier fits said of later customers, and what those then did.

The map is learned on predictions of models that saw nothing of the customers' weeks; it is then put on a model fitted on
all snapshots, the newest too, so that calibrating costs no data. Its parameters are drawn towards "as it is": one
season's error must not be carried into the next.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.isotonic import IsotonicRegression

ISOTONIC_FROM = 1000  # churners; below, two parameters are all that can be learned
CHURNERS = 20  # and as many who stay, below which nothing is learned
_BELIEF = 25.0  # precision of the prior around slope 1 and shift 0
_WORTH = 250.0  # customers: what one origin's season shifts (.15 of the log-odds) is no surer for more of them


class Calibrated(ClassifierMixin, BaseEstimator):
    """A fitted estimator whose log-odds go through a map.

    Parameters
    ----------
    estimator : fitted classifier
        With a ``decision_function`` in log-odds.
    slope, shift : float
        log-odds → shift + slope · log-odds.
    steps : sequence of two (m,) arrays, optional
        Then, where given, piecewise linear from the first to the second, in probabilities (isotonic).
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
        self.classes_ = np.array([0.0, 1.0])

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Calibrated":
        """Nothing is learned here: see `learn`."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return self.estimator is not None

    def map(self, probability: np.ndarray) -> np.ndarray:
        """(n,) calibrated probabilities of (n,) raw ones."""
        mapped = expit(self.shift + self.slope * _odds(probability))
        return mapped if self.steps is None else np.interp(mapped, self.steps[0], self.steps[1])

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, 2): P(stays), P(churns)."""
        churn = self.map(self.estimator.predict_proba(X)[:, 1])
        return np.column_stack([1 - churn, churn])

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """(n,) log-odds of churn."""
        return _odds(self.predict_proba(X)[:, 1])

    def predict(self, X: np.ndarray) -> np.ndarray:
        """(n,) 0 or 1, at even odds."""
        return (self.predict_proba(X)[:, 1] >= 0.5).astype(float)


def _odds(probability: np.ndarray) -> np.ndarray:
    return logit(np.clip(probability, 1e-6, 1 - 1e-6))


def learn(
    probabilities: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> tuple[Calibrated, str]:
    """The map that did best on the origins it was not learned on, and what it is called.

    Parameters
    ----------
    probabilities, labels : sequence of (n,) arrays
        Out of time, one pair an origin; a lone origin is halved by customers.

    Returns
    -------
    calibrated : Calibrated
        Without an estimator.
    method : str
        none, sigmoid or isotonic.
    """
    y = np.concatenate([*labels, np.empty(0)])
    churners = int(y.sum())
    if not CHURNERS <= churners <= len(y) - CHURNERS:
        return Calibrated(), "none"
    many = (
        churners >= ISOTONIC_FROM and len(labels) > 1
    )  # judged within one origin, steps learn its season
    methods = ("sigmoid", "isotonic") if many else ("sigmoid",)
    folds = cross_fits(labels)
    lost = {
        method: sum(
            _loss(
                mapped(method, probabilities, labels, learned).map(probabilities[place][rows]),
                labels[place][rows],
            )
            for learned, place, rows in folds
        )
        for method in methods
    }
    best = min(methods, key=lambda method: lost[method])
    every = [(place, slice(None)) for place in range(len(labels))]
    return mapped(best, probabilities, labels, every), best


Rows = slice
Learned = Sequence[tuple[int, Rows]]


def cross_fits(labels: Sequence[np.ndarray]) -> list[tuple[list[tuple[int, Rows]], int, Rows]]:
    """What to learn on (origin and rows of each) and what to judge on: other origins, or the other half of the only one."""
    if len(labels) == 1:
        even, odd = slice(0, None, 2), slice(1, None, 2)
        return [([(0, even)], 0, odd), ([(0, odd)], 0, even)]
    places = range(len(labels))
    return [
        ([(one, slice(None)) for one in places if one != out], out, slice(None)) for out in places
    ]


def mapped(
    method: str, probabilities: Sequence[np.ndarray], labels: Sequence[np.ndarray], learned: Learned
) -> Calibrated:
    """A map of one kind, learned on some rows of some origins."""
    if method == "none":
        return Calibrated()
    p = np.concatenate([probabilities[place][rows] for place, rows in learned])
    y = np.concatenate([labels[place][rows] for place, rows in learned])
    sizes = [len(labels[place][rows]) for place, rows in learned]
    slope, shift = sigmoid(
        p, y, np.repeat([min(1.0, _WORTH / max(size, 1)) for size in sizes], sizes)
    )
    if method == "sigmoid":
        return Calibrated(slope=slope, shift=shift)
    steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, y)
    doubted = shift - sigmoid(p, y, np.ones(len(y)))[1]
    return Calibrated(steps=(steps.X_thresholds_, expit(_odds(steps.y_thresholds_) + doubted)))


def sigmoid(probability: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Slope and shift of the log-odds by penalised, weighted maximum likelihood (Platt 1999, with a prior at 1 and 0)."""
    odds = _odds(probability)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        slope, shift = values
        margin = shift + slope * odds
        error = weight * (expit(margin) - y)
        value = weight @ (np.logaddexp(0, margin) - y * margin)
        prior = _BELIEF / 2 * ((slope - 1) ** 2 + shift**2)
        gradient = np.array([error @ odds + _BELIEF * (slope - 1), error.sum() + _BELIEF * shift])
        return float(value + prior), gradient

    slope, shift = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS").x
    return float(slope), float(shift)


def _loss(probability: np.ndarray, y: np.ndarray) -> float:
    p = np.clip(probability, 5e-4, 1 - 5e-4)
    return float(-(np.log(np.where(y == 1, p, 1 - p))).mean())
