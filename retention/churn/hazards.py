"""Churn classifiers that use the time until a customer's return.

- Survival: discrete-time hazards. One classifier per interval of the horizon gives P(still away
  after it | away before it). P(churn) is their product. If an interval has too few outcomes, one
  classifier covers the whole horizon.
- Other horizons: classifiers of returns within half and twice the horizon. Their log-odds are
  rescaled to P(churn) by slope and shift (Platt scaling). They err on other customers, so they
  improve the ensemble of large shops (docs/data_scientist/estimators.md).

References
----------
Singer, Willett (1993), It's About Time, Journal of Educational Statistics 18.

Platt (1999), Probabilistic Outputs for Support Vector Machines.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from retention.churn.calibration import ChurnProbability
from retention.churn.rows import Rows
from retention.progress import Progress, part

EDGES = (0.35, 1.0)  # ends of the intervals, in horizons; most returns are early
OTHER_HORIZONS = (0.5, 2.0)  # in horizons
MIN_OUTCOMES = 50  # of each class, to fit a classifier
_WEAK_PENALTY = 1e4  # inverse penalty for two parameters


class Survival(ChurnProbability):
    """P(churn) as the product of interval classifiers.

    Parameters
    ----------
    stretches : sequence of fitted classifiers
        The second class of each is "no return in this interval, given none before".
    """

    def __init__(self, stretches: Sequence[BaseEstimator] = ()) -> None:
        self.stretches = stretches

    def churn(self, X: np.ndarray) -> np.ndarray:
        """Return P(churn), (n,)."""
        return np.prod([stretch.predict_proba(X)[:, 1] for stretch in self.stretches], axis=0)


def fit_survival(
    fit: Callable[[Any, np.ndarray, Progress], BaseEstimator],
    X: Rows | np.ndarray,
    return_times: np.ndarray,
    progress: Progress,
) -> BaseEstimator | None:
    """Fit a classifier for each interval of the horizon.

    `return_times`: (n,) time until the return, in horizons. At least 1, or infinite, for churned
    customers.
    Returns: none if an interval has too few outcomes.
    """
    pairs = zip((0.0, *EDGES), EDGES, strict=False)
    intervals = [(return_times >= since, return_times >= until) for since, until in pairs]
    if any(
        min((away & still).sum(), (still & ~away).sum()) < MIN_OUTCOMES for still, away in intervals
    ):
        return None
    stretches = [
        fit(X[still], away[still].astype(float), part(progress, number, len(intervals)))
        for number, (still, away) in enumerate(intervals)
    ]
    return Survival(stretches)


def fit_other_horizons(
    fit: Callable[[Rows, np.ndarray, Progress], Pipeline],
    X: Rows,
    y: np.ndarray,
    return_times: np.ndarray,
    observed_horizons: np.ndarray,
    progress: Progress,
) -> list[Pipeline]:
    """Fit P(churn) on returns within other horizons.

    `fit`: features, labels and progress → fitted pipeline that ends in a `Quadratic`.
    `return_times`, `observed_horizons`: (n,) in horizons: time until the return, infinite without
    one in the observed time.
    Returns: one per horizon of `OTHER_HORIZONS` with enough observed outcomes.
    """
    members = []
    for number, horizon in enumerate(OTHER_HORIZONS):
        is_observed, is_away = observed_horizons >= horizon, return_times >= horizon
        if min((is_observed & is_away).sum(), (is_observed & ~is_away).sum()) >= MIN_OUTCOMES:
            member = fit(
                X[is_observed],
                is_away[is_observed].astype(float),
                part(progress, number, len(OTHER_HORIZONS)),
            )
            members.append(_rescale_to(y, member, X))
    return members


def _rescale_to(y: np.ndarray, member: Pipeline, X: Rows) -> Pipeline:
    """Rescale the log-odds of a member to the labels ``y``."""
    line = LogisticRegression(C=_WEAK_PENALTY).fit(
        member[-1].decision_function(X.scaled)[:, None], y
    )
    member[-1].rescale(float(line.coef_[0, 0]), float(line.intercept_[0]))
    return member
