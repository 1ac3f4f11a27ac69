"""Churn by the horizon's neighbours: who is back within half of it, and who stays away for twice as long, give the same signs.

They are learned from other outcomes of the same customers, so they err on other customers; what each says is brought to
P(churn) by a slope and a shift of its log-odds (Platt 1999, Probabilistic Outputs for Support Vector Machines). As a member
beside those that are asked of the horizon itself they gain where a shop is large (docs/accuracy.md).
"""

from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from retention.progress import Progress, part

OTHERS = (0.5, 2.0)  # horizons
LEAST = 50  # outcomes of each kind, to learn one
_NEARLY_FREE = 1e4  # inverse penalty of two numbers that are learned from everybody


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
