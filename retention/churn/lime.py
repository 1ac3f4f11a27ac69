"""A second opinion: LIME (Ribeiro, Singh, Guestrin 2016), a linear model of the model around one customer.

Customers like this one are made by giving them, group of features by group, what another active customer has. Ridge
regression of the model's log-odds on their scaled features, weighted by how near they are, tells what each group adds;
its weighted R² is the fidelity: how far the model around here is a straight line, and how much the opinion is worth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from retention.churn.estimators import signed_log
from retention.churn.model import TrainedChurn
from retention.churn.reasons import calibration_slope, groups_of, uncalibrated

SAMPLES = 2000
KERNEL_WIDTH = 0.75  # × √features: the kernel's width, as in the paper's own code
CHANGE_PROBABILITY = 0.5  # the chance that a group is another customer's
TOP_GROUPS = 3


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """Each group's weight in log-odds, as `retention.churn.reasons` weighs them, and the fidelity (0 … 1)."""

    weights: dict[str, float]
    fidelity: float

    def agreement(self, first: Mapping[str, float]) -> float:
        """The share of the `TOP_GROUPS` heaviest groups that both opinions have."""
        return len(set(top_groups(self.weights)) & set(top_groups(first))) / TOP_GROUPS

    def as_dict(self, first: Mapping[str, float]) -> dict[str, Any]:
        """For the job's result: the heaviest groups, the fidelity, and the agreement with the first opinion."""
        return {
            "reasons": [
                {"feature": group, "weight": round(self.weights[group], 3)}
                for group in top_groups(self.weights)
            ],
            "fidelity": round(self.fidelity, 3),
            "agreement": round(self.agreement(first), 3),
        }


def top_groups(weights: Mapping[str, float]) -> list[str]:
    """The `TOP_GROUPS` groups by the size of their weight, the largest first."""
    return sorted(weights, key=lambda group: (-abs(weights[group]), group))[:TOP_GROUPS]


def second_opinion(
    trained: TrainedChurn, x: np.ndarray, others: np.ndarray, *, seed: int = 0
) -> SecondOpinion:
    """What LIME says of one customer.

    Parameters
    ----------
    x : numpy.ndarray
        (k,) features of the customer, in the order of ``trained.columns``.
    others : numpy.ndarray
        (n, k) the active customers, from whom the changes are drawn.
    """
    rng = np.random.default_rng(seed)
    groups = groups_of(trained.columns)
    rows = np.broadcast_to(x, (SAMPLES, len(x))).copy()
    donors = others[rng.integers(len(others), size=SAMPLES)]
    for places in groups.values():
        changed = np.ix_(np.flatnonzero(rng.random(SAMPLES) < CHANGE_PROBABILITY), np.array(places))
        rows[changed] = donors[changed]
    margin = uncalibrated(trained.model).decision_function(rows)
    scaled, here = _scaled(rows, others, x)
    near = np.exp(-((scaled - here) ** 2).sum(axis=1) / (KERNEL_WIDTH**2 * scaled.shape[1]))
    near = near / near.sum() if near.sum() > 0 else np.full(SAMPLES, 1 / SAMPLES)
    with threadpool_limits(1):  # so small a system is solved before threads have met
        line = Ridge(alpha=1.0 / SAMPLES).fit(scaled, margin, sample_weight=near)
    fidelity = (
        float(np.clip(line.score(scaled, margin, sample_weight=near), 0, 1))
        if np.ptp(margin)
        else 1.0
    )
    parts = line.coef_ * here
    parts = parts[: len(x)] + parts[len(x) :]
    slope = calibration_slope(trained.model)
    return SecondOpinion(
        {group: float(slope * parts[places].sum()) for group, places in groups.items()}, fidelity
    )


def _scaled(rows: np.ndarray, others: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-scaled features in standard deviations from the active customers' mean, and whether they are missing."""
    with np.errstate(all="ignore"):
        middle = np.nan_to_num(
            np.nanmedian(np.where(np.isnan(others).all(axis=0), 0.0, others), axis=0)
        )

    def seen(values: np.ndarray) -> np.ndarray:
        missing = np.isnan(values)
        return np.concatenate(
            [signed_log(np.where(missing, middle, values)), missing.astype(float)], axis=-1
        )

    all_of_them = seen(others)
    mean, spread = all_of_them.mean(axis=0), all_of_them.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    return (seen(rows) - mean) / spread, (seen(x) - mean) / spread
