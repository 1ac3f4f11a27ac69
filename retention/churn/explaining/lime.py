"""Explain churn scores by local linear models (LIME).

Samples near a customer get, group by group, the values of another active customer. Ridge
regression of the log-odds on scaled features, weighted by proximity, gives each group's
contribution. Its weighted R² is the fidelity: how linear the model is there.

References
----------
Ribeiro, Singh, Guestrin (2016), "Why Should I Trust You?": Explaining the Predictions of Any
Classifier.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from retention.churn.estimators import signed_log
from retention.churn.explaining.reasons import calibration_slope, groups_of, uncalibrated
from retention.churn.model import TrainedChurn

SAMPLES = 2000
KERNEL_WIDTH = 0.75  # × √features, as in the authors' code
CHANGE_PROBABILITY = 0.5  # that a group's values come from another customer
TOP_GROUPS = 3


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """LIME's explanation of one customer.

    `weights`: weight of each feature group in log-odds, as in `retention.churn.explaining.reasons`.
    `fidelity`: 0 … 1.
    """

    weights: dict[str, float]
    fidelity: float

    def agreement(self, first: Mapping[str, float]) -> float:
        """Return the share of the `TOP_GROUPS` groups in both opinions."""
        return len(set(top_groups(self.weights)) & set(top_groups(first))) / TOP_GROUPS

    def as_dict(self, first: Mapping[str, float]) -> dict[str, Any]:
        """Return top groups, fidelity and agreement for job results.

        `first`: weights of the first opinion.
        """
        return {
            "reasons": [
                {"feature": group, "weight": round(self.weights[group], 3)}
                for group in top_groups(self.weights)
            ],
            "fidelity": round(self.fidelity, 3),
            "agreement": round(self.agreement(first), 3),
        }


def top_groups(weights: Mapping[str, float]) -> list[str]:
    """Return the `TOP_GROUPS` groups with the largest absolute weights."""
    return sorted(weights, key=lambda group: (-abs(weights[group]), group))[:TOP_GROUPS]


def second_opinion(trained: TrainedChurn, x: np.ndarray, others: np.ndarray) -> SecondOpinion:
    """Explain one customer by LIME.

    `x`: (k,) features of the customer, in the order of ``trained.columns``.
    """
    rng = np.random.default_rng(0)
    groups = groups_of(trained.columns)
    rows = np.broadcast_to(x, (SAMPLES, len(x))).copy()
    donors = others[rng.integers(len(others), size=SAMPLES)]
    for places in groups.values():
        changed = np.ix_(np.flatnonzero(rng.random(SAMPLES) < CHANGE_PROBABILITY), np.array(places))
        rows[changed] = donors[changed]
    margin = uncalibrated(trained.model).decision_function(rows)
    scaled, customer = _scaled(rows, others, x)
    proximity = np.exp(
        -((scaled - customer) ** 2).sum(axis=1) / (KERNEL_WIDTH**2 * scaled.shape[1])
    )
    proximity = (
        proximity / proximity.sum() if proximity.sum() > 0 else np.full(SAMPLES, 1 / SAMPLES)
    )
    with threadpool_limits(1):  # threads slow down such a small system
        line = Ridge(alpha=1.0 / SAMPLES).fit(scaled, margin, sample_weight=proximity)
    fidelity = 1.0
    if np.ptp(margin):
        fidelity = float(np.clip(line.score(scaled, margin, sample_weight=proximity), 0, 1))
    parts = line.coef_ * customer
    parts = parts[: len(x)] + parts[len(x) :]
    slope = calibration_slope(trained.model)
    weights = {group: float(slope * parts[places].sum()) for group, places in groups.items()}
    return SecondOpinion(weights, fidelity)


def _scaled(rows: np.ndarray, others: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return standardised log-scaled features and missing-value indicators.

    Mean and standard deviation are those of the active customers.
    """
    with np.errstate(all="ignore"):
        middle = np.nan_to_num(
            np.nanmedian(np.where(np.isnan(others).all(axis=0), 0.0, others), axis=0)
        )

    def transform(values: np.ndarray) -> np.ndarray:
        missing = np.isnan(values)
        columns = [signed_log(np.where(missing, middle, values)), missing.astype(float)]
        return np.concatenate(columns, axis=-1)

    reference = transform(others)
    mean, spread = reference.mean(axis=0), reference.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    return (transform(rows) - mean) / spread, (transform(x) - mean) / spread
