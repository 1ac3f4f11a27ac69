"""How far a population has moved from the one a model learned from: the population stability index (PSI).

Below .1 nothing to speak of, from .25 a different population (Siddiqi 2006, Credit Risk Scorecards).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from retention.churn.model import TrainedChurn
    from retention.churn.snapshots import Snapshot, TrainingSet

MOVED = 0.25
BINS = 10
CALENDAR = ("season_sin", "season_cos")
# With the history itself; what is left blank of it shrinks.
GROWING = ("tenure_days", "order_days", "orders_all", "spend_all", "gap_max", "blank_share")


def psi(expected: Sequence[float] | np.ndarray, actual: Sequence[float] | np.ndarray) -> float:
    """Σ (actual − expected) · ln(actual / expected) over the bins' shares, each (b,) and above 0."""
    e, a = np.asarray(expected, dtype=float), np.asarray(actual, dtype=float)
    return float(((a - e) * np.log(a / e)).sum())


def profile(values: np.ndarray) -> dict[str, Any]:
    """What to keep of (n,) numbers (missing as NaN) so that others can be held against them later, as JSON.

    Returns
    -------
    dict
        ``edges`` between at most ten bins of equal count, ``counts`` of each bin and, last, of what is missing.
    """
    values = np.asarray(values, dtype=float)
    known = values[~np.isnan(values)]
    steps = np.arange(1, BINS) / BINS
    edges = np.unique(np.quantile(known, steps)) if len(known) else np.empty(0)
    return {"edges": edges.tolist(), "counts": _counts(edges, values).tolist()}


def reference_profiles(training: "TrainingSet", trained: "TrainedChurn") -> dict[str, Any]:
    """Profiles (`retention.churn.drift.profile`) of each feature over the training window, and of the newest scores.

    Returns
    -------
    dict
        ``features``: name → profile; ``scores``: profile of the probabilities given to the newest snapshot.
    """
    # the season's move with the calendar, not with the customers
    columns = [column for column in trained.columns if not column.startswith("season_")]
    X = np.concatenate([snapshot.matrix(columns) for snapshot in training.snapshots])
    features = {name: profile(X[:, place]) for place, name in enumerate(columns)}
    return {
        "features": features,
        "scores": profile(np.asarray(trained.predict(training.newest))),
    }


def moved(before: Mapping[str, Any], values: np.ndarray) -> float:
    """PSI of (n,) numbers against a `profile`; half a customer is added to each bin, so that an empty one counts."""
    counts = np.array(
        [before["counts"], _counts(np.array(before["edges"]), np.asarray(values, dtype=float))]
    )
    held = counts[:, counts.sum(axis=0) > 0] + 0.5
    return psi(*(held / held.sum(axis=1, keepdims=True)))


def of_features(profiles: Mapping[str, Any], people: "Snapshot") -> dict[str, float]:
    """PSI of each feature that the profiles and the customers have, the largest first; the calendar always moves and is left out."""
    names = [name for name in profiles if name not in CALENDAR and name in people.frame]
    values = people.matrix(names)
    found = {name: moved(profiles[name], values[:, place]) for place, name in enumerate(names)}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def of_customers(profiles: Mapping[str, Any], people: "Snapshot") -> dict[str, Any]:
    """How far customers have moved from those of the profiles (empty: of a version that kept none).

    Returns
    -------
    dict
        ``customers``: how many; ``features``: see `of_features`; ``limit`` of the PSI from which one counts; ``moved``:
        those that do, but for what grows with the history by itself.
    """
    features, customers = of_features(profiles, people), len(people.frame)
    limit = limit_of(next(iter(profiles.values())), customers) if profiles else MOVED
    return {
        "customers": customers,
        "features": features,
        "limit": limit,
        "moved": unexpected(features, limit),
    }


def limit_of(before: Mapping[str, Any], customers: int) -> float:
    """The PSI from which so many customers have moved: another population, and more than chance shows."""
    return max(MOVED, by_chance(before, customers))


def unexpected(features: Mapping[str, float], limit: float = 0.0) -> list[str]:
    """Those from a limit on that do not grow with the history by themselves."""
    return [name for name, value in features.items() if value >= limit and name not in GROWING]


def by_chance(before: Mapping[str, Any], customers: int) -> float:
    """PSI that not even one in twenty samples of the same population exceeds: few customers always move a little.

    Under no change PSI · nm/(n + m) is about χ² with one degree of freedom fewer than bins (Yurdakul 2018).
    """
    from scipy.stats import chi2

    bins = int((np.array(before["counts"]) > 0).sum())
    return float(
        chi2.ppf(0.95, max(bins - 1, 1)) * (1 / sum(before["counts"]) + 1 / max(customers, 1))
    )


def _counts(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    missing = np.isnan(values)
    # right-open bins: a value equal to an edge belongs above it, whichever population it is from
    places = np.searchsorted(edges, values[~missing], side="right")
    return np.concatenate([np.bincount(places, minlength=len(edges) + 1), [missing.sum()]])
