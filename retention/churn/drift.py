"""Measure drift by the population stability index (PSI).

A PSI below .1 is negligible, one from .25 a different population.

References
----------
Siddiqi (2006), Credit Risk Scorecards.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import chi2

if TYPE_CHECKING:
    from retention.churn.model import TrainedChurn
    from retention.churn.snapshots import Snapshot
    from retention.churn.training_set import TrainingSet

PSI_LIMIT = 0.25
BINS = 10
CALENDAR_FEATURES = ("season_sin", "season_cos")
# these grow with the length of the history; blank_share falls
GROWING_FEATURES = (
    "tenure_days",
    "order_days",
    "orders_all",
    "spend_all",
    "gap_max",
    "blank_share",
)


def psi(expected: Sequence[float] | np.ndarray, actual: Sequence[float] | np.ndarray) -> float:
    """Return Σ (actual − expected) · ln(actual / expected).

    `expected`, `actual`: (b,) shares of the bins, above 0.
    """
    e, a = np.asarray(expected, dtype=float), np.asarray(actual, dtype=float)
    return float(((a - e) * np.log(a / e)).sum())


def profile(values: np.ndarray) -> dict[str, Any]:
    """Summarise numbers for later comparisons, as JSON.

    Returns: ``edges`` between at most ten bins of equal count; ``counts`` of each bin and, last, of
    missing values.
    """
    values = np.asarray(values, dtype=float)
    known = values[~np.isnan(values)]
    steps = np.arange(1, BINS) / BINS
    edges = np.unique(np.quantile(known, steps)) if len(known) else np.empty(0)
    return {"edges": edges.tolist(), "counts": _counts(edges, values).tolist()}


def reference_profiles(training: "TrainingSet", trained: "TrainedChurn") -> dict[str, Any]:
    """Profile a model's training features and newest scores.

    Returns: ``features``: name → profile over all snapshots; ``scores``: profile of the
    probabilities at the newest snapshot.
    """
    # seasonal features change with the calendar, not with the customers
    columns = [column for column in trained.columns if not column.startswith("season_")]
    X = np.concatenate([snapshot.matrix(columns) for snapshot in training.snapshots])
    features = {name: profile(X[:, place]) for place, name in enumerate(columns)}
    return {"features": features, "scores": profile(np.asarray(trained.predict(training.newest)))}


def profile_psi(reference: Mapping[str, Any], values: np.ndarray) -> float:
    """Return the PSI of numbers against a profile.

    Half a customer is added to each bin, so empty bins are valid.
    """
    counts = np.array(
        [
            reference["counts"],
            _counts(np.array(reference["edges"]), np.asarray(values, dtype=float)),
        ]
    )
    smoothed = counts[:, counts.sum(axis=0) > 0] + 0.5
    return psi(*(smoothed / smoothed.sum(axis=1, keepdims=True)))


def feature_psi(profiles: Mapping[str, Any], snapshot: "Snapshot") -> dict[str, float]:
    """Return the PSI of each feature, largest first.

    Calendar features always drift and are left out.
    """
    names = [name for name in profiles if name not in CALENDAR_FEATURES and name in snapshot.frame]
    values = snapshot.matrix(names)
    places = enumerate(names)
    drift = {name: profile_psi(profiles[name], values[:, place]) for place, name in places}
    return dict(sorted(drift.items(), key=lambda pair: -pair[1]))


def population_drift(profiles: Mapping[str, Any], snapshot: "Snapshot") -> dict[str, Any]:
    """Compare customers with the profiles of a model.

    `profiles`: feature → profile. Empty for a version without profiles.
    Returns: ``customers``: their number; ``features``: see `feature_psi`; ``limit`` of the PSI;
    ``moved``: features beyond it, except those that grow with the history.
    """
    features, customers = feature_psi(profiles, snapshot), len(snapshot.frame)
    limit = psi_limit(next(iter(profiles.values())), customers) if profiles else PSI_LIMIT
    return {
        "customers": customers,
        "features": features,
        "limit": limit,
        "moved": drifted_features(features, limit),
    }


def psi_limit(reference: Mapping[str, Any], customers: int) -> float:
    """Return the PSI from which a population has drifted."""
    return max(PSI_LIMIT, chance_psi(reference, customers))


def drifted_features(features: Mapping[str, float], limit: float = 0.0) -> list[str]:
    """Return features with a PSI beyond a limit.

    Features that grow with the history are left out.
    """
    return [
        name for name, value in features.items() if value >= limit and name not in GROWING_FEATURES
    ]


def chance_psi(reference: Mapping[str, Any], customers: int) -> float:
    """Return the 95th percentile of the PSI without drift.

    Without drift, PSI · nm/(n + m) is about χ² with bins − 1 degrees of freedom.

    References
    ----------
    Yurdakul (2018), Statistical Properties of Population Stability Index.
    """
    bins = int((np.array(reference["counts"]) > 0).sum())
    return float(
        chi2.ppf(0.95, max(bins - 1, 1)) * (1 / sum(reference["counts"]) + 1 / max(customers, 1))
    )


def _counts(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    missing = np.isnan(values)
    # right-open bins: a value equal to an edge belongs to the upper bin
    places = np.searchsorted(edges, values[~missing], side="right")
    return np.concatenate([np.bincount(places, minlength=len(edges) + 1), [missing.sum()]])
