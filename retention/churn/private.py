"""Fit a differentially private logistic regression.

Gradient descent with Gaussian noise in each step, on all customers (DP-SGD without sampling).
Adding or removing one customer with all of their rows changes the distribution of the
coefficients by at most (ε, δ). Nothing else is learned from the data: features have bounds that
are constants, and the number of customers in the step size is noisy, too.

References
----------
Song, Chaudhuri and Sarwate (2013), Stochastic Gradient Descent with Differentially Private Updates.

Abadi et al. (2016), Deep Learning with Differential Privacy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from retention.churn.snapshots import Snapshot
from retention.errors import BadInput
from retention.privacy import descent, extra, noise
from retention.text import gettext

PRIVATE = "private"  # the estimator's name
_ROUNDING = 0.999  # room for the rounding of sums: a row's norm is at most this


@dataclass(frozen=True, slots=True)
class Bounds:
    """Public range of a feature. Values outside are clipped; of long tails the logarithm counts."""

    low: float
    high: float
    is_log: bool = False

    def scaled(self, values: np.ndarray) -> np.ndarray:
        """Return values in [−1, 1], (n,); missing ones are 0."""
        low, high, clipped = self.low, self.high, np.clip(values, self.low, self.high)
        if self.is_log:
            low, high, clipped = np.log1p(low), np.log1p(high), np.log1p(clipped)
        return np.nan_to_num(2 * (clipped - low) / (high - low) - 1)

    @property
    def middle(self) -> float:
        """The value that becomes 0."""
        if self.is_log:
            return float(np.expm1((np.log1p(self.low) + np.log1p(self.high)) / 2))
        return (self.low + self.high) / 2


# Each is computed from the customer's own events only. Fitted features, such as those of BG/NBD,
# are not: one customer changes those of all others.
BOUNDS = {
    "recency_days": Bounds(0, 365, is_log=True),
    "recency_over_gap": Bounds(0, 20, is_log=True),
    "silence_rank": Bounds(0, 1),
    "orders_half": Bounds(0, 20, is_log=True),
    "orders_1h": Bounds(0, 40, is_log=True),
    "orders_4h": Bounds(0, 160, is_log=True),
    "quarters_1h": Bounds(0, 4),
    "quarters_3h": Bounds(0, 12),
    "quarters_6h": Bounds(0, 24),
    "gap_median": Bounds(0, 90, is_log=True),
    "gap_max": Bounds(0, 365, is_log=True),
    "silent_share": Bounds(0, 1),
    "blank_share": Bounds(0, 1),
    "trend_orders": Bounds(-1, 1),
    "spend_4h": Bounds(0, 10_000, is_log=True),
    "basket_mean": Bounds(0, 500, is_log=True),
}
COLUMNS = tuple(BOUNDS)
TYPICAL = np.array([bounds.middle for bounds in BOUNDS.values()])


def public_scale(X: np.ndarray) -> np.ndarray:
    """Scale features by public bounds; the norm of a row and 1 for the intercept is below 1.

    Stored models contain this function by its path.

    `X`: (n, k) in the order of `COLUMNS`.
    """
    scaled = [bounds.scaled(X[:, place]) for place, bounds in enumerate(BOUNDS.values())]
    return _ROUNDING * np.column_stack(scaled) / sqrt(len(COLUMNS) + 1)


def checked_epsilon(settings: Mapping[str, Any]) -> float:
    """Return ε from the settings of a training."""
    epsilon = settings.get("epsilon")
    if epsilon is None:
        text = gettext("--epsilon is missing; a private model needs one, such as --epsilon 2.")
        raise BadInput(text, field="epsilon")
    return float(epsilon)


def fit(snapshots: Sequence[Snapshot], epsilon: float) -> Pipeline:
    """Fit on all rows of labelled snapshots.

    `epsilon`: infinite for the same model without noise.
    """
    X = public_scale(np.concatenate([snapshot.matrix(COLUMNS) for snapshot in snapshots]))
    labels = np.concatenate([snapshot.labels for snapshot in snapshots])
    ids = np.concatenate([snapshot.frame.customer_id.to_numpy(str) for snapshot in snapshots])
    _, customer, rows = np.unique(ids, return_inverse=True, return_counts=True)
    weights = _descend(X, labels, 1 / rows[customer], epsilon)
    head = LogisticRegression()
    head.coef_, head.intercept_ = weights[None, :-1], weights[-1:] * _intercept_input()
    head.classes_, head.n_features_in_, head.n_iter_ = np.array([0.0, 1.0]), len(COLUMNS), 0
    return make_pipeline(FunctionTransformer(public_scale), head)


def _intercept_input() -> float:
    return _ROUNDING / sqrt(len(COLUMNS) + 1)


def _descend(X: np.ndarray, y: np.ndarray, share: np.ndarray, epsilon: float) -> np.ndarray:
    """Return coefficients and, last, the weight of the intercept's input.

    `share`: 1 ÷ the customer's number of rows. So a customer changes the sum of the gradients by at
    most 1 in L2, whatever the number of rows.
    """
    inputs = np.column_stack([X, np.full(len(X), _intercept_input())])
    customers, scale = float(share.sum()), 0.0
    steps = descent.terms(epsilon)["steps"]
    if epsilon < inf:
        extra.require()
        rho = noise.rho_of(epsilon, descent.DELTA)
        count_scale = sqrt(1 / (2 * rho * descent.COUNT_SHARE))
        customers = max(1.0, noise.noisy_vector(np.array([customers]), count_scale)[0])
        scale = sqrt(steps / (2 * rho * (1 - descent.COUNT_SHARE)))

    def gradient(weights: np.ndarray) -> np.ndarray:
        total = inputs.T @ (share * (expit(inputs @ weights) - y))
        return (noise.noisy_vector(total, scale) if scale else total) / customers

    return descent.descend(inputs.shape[1], steps, gradient)
