"""Churn by the stretches of its horizon: when a customer came back tells more than whether they did.

Discrete-time hazards (Singer, Willett 1993, It's About Time, J. Educational Statistics 18): one classifier for each
stretch says whether somebody who had not come back before it stays away in it, too; P(churn) is their product. Where a
stretch has too few outcomes of either kind, one classifier for the whole horizon must do.
"""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from retention.progress import Progress, part

EDGES = (0.35, 1.0)  # ends of the stretches, in horizons: most who come back do so early
OTHERS = (0.5, 2.0)  # horizons
LEAST = 50  # outcomes of each kind, to learn a stretch
_NEARLY_FREE = 1e4  # inverse penalty of two numbers that are learned from everybody


class Survival(ClassifierMixin, BaseEstimator):
    """P(churn) = the product of what fitted classifiers say of one stretch each.

    Parameters
    ----------
    stretches : sequence of fitted classifiers
        Their second class is "does not come back in this stretch, given that they had not before".
    """

    def __init__(self, stretches: Sequence[BaseEstimator] = ()) -> None:
        self.stretches = stretches
        self.classes_ = np.array([0.0, 1.0])

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Survival":
        """Fit every stretch on (n, k) features and (n,) labels; `by_stretches` tells them apart."""
        for one in self.stretches:
            one.fit(X, y)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return bool(self.stretches)

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """(n, 2): P(comes back), P(churns)."""
        away = np.prod([one.predict_proba(X)[:, 1] for one in self.stretches], axis=0)
        return np.column_stack([1 - away, away])


def by_stretches(
    fit: Callable[[np.ndarray, np.ndarray, Progress], BaseEstimator],
    X: np.ndarray,
    waited: np.ndarray,
    progress: Progress,
) -> BaseEstimator | None:
    """Fit a classifier to each stretch of the horizon; None where one of them has too few outcomes.

    Parameters
    ----------
    fit : callable
        Features, labels and progress → a fitted classifier.
    X : numpy.ndarray
        (n, k).
    waited : numpy.ndarray
        (n,) time until a customer came back, in horizons; one or more, or infinite, for who churned.
    """
    stretches = [
        (waited >= since, waited >= until)
        for since, until in zip((0.0, *EDGES), EDGES, strict=False)
    ]
    if any(min((away & still).sum(), (still & ~away).sum()) < LEAST for still, away in stretches):
        return None
    return Survival(
        [
            fit(X[still], away[still].astype(float), part(progress, number, len(stretches)))
            for number, (still, away) in enumerate(stretches)
        ]
    )


def by_other_horizons(
    fit: Callable[[np.ndarray, np.ndarray, Progress], Pipeline],
    X: np.ndarray,
    y: np.ndarray,
    waited: np.ndarray,
    followed: np.ndarray,
    progress: Progress,
) -> list[Pipeline]:
    """A fitted classifier of P(churn) for each of `OTHERS` that was followed long enough and has outcomes enough.

    Parameters
    ----------
    fit : callable
        Features, labels and progress → a fitted pipeline that ends in a `Quadratic`.
    X : numpy.ndarray
        (n, k).
    y : numpy.ndarray
        (n,) labels of the horizon itself.
    waited, followed : numpy.ndarray
        (n,) time until a customer came back, infinite where they had not after ``followed``, both in horizons.
    """
    made = []
    for number, horizon in enumerate(OTHERS):
        known, away = followed >= horizon, waited >= horizon
        if min((known & away).sum(), (known & ~away).sum()) >= LEAST:
            asked = fit(X[known], away[known].astype(float), part(progress, number, len(OTHERS)))
            made.append(_brought_to(y, asked, X))
    return made


def _brought_to(y: np.ndarray, asked: Pipeline, X: np.ndarray) -> Pipeline:
    """Its log-odds turned so that they are those of ``y``."""
    line = LogisticRegression(C=_NEARLY_FREE).fit(asked.decision_function(X)[:, None], y)
    asked[-1].turned(float(line.coef_[0, 0]), float(line.intercept_[0]))
    return asked
