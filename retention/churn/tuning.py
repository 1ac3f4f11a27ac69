"""Tune estimator settings by a seeded search on rolling origins.

Successive halving: random settings are evaluated on the newest origin, the better half of them on
the next one, and so on, within a budget of time or fits. The default settings take part. Others
replace them only if they are significantly better: by the 95% interval of the paired difference
in log-loss, by customer.

References
----------
Jamieson, Talwalkar (2016), Non-stochastic Best Arm Identification and Hyperparameter Optimization,
AISTATS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from time import monotonic
from typing import Any

import numpy as np

from retention.churn import estimators
from retention.churn.evaluation import rolling
from retention.churn.evaluation.uncertainty import Interval, log_losses, paired_interval
from retention.churn.snapshots import Snapshot
from retention.churn.training_set import TrainingSet
from retention.progress import Progress, part, silent
from retention.text import gettext

MAX_TRIALS = 64  # per estimator
_PRODUCTS = {"C": (3e-4, 0.03), "gamma": (1e-3, 0.03)}
# The least and the largest value of each setting.
SPACE: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "logistic": {"C": (1e-3, 1)},
    estimators.PRODUCTS: _PRODUCTS,
    estimators.HORIZONS: _PRODUCTS,
    "svm": {"C": (1e-4, 0.1)},
    "neural": {"alpha": (0.1, 10), "learning_rate_init": (5e-4, 5e-3)},
    "tree": {"max_depth": (3, 9), "min_samples_leaf": (20, 300)},
    "forest": {"min_samples_leaf": (4, 60), "max_features": (0.08, 0.5)},
    "extra_trees": {"min_samples_leaf": (4, 60), "max_features": (0.1, 0.7)},
    "boosting": {
        "learning_rate": (0.03, 0.2),
        "max_leaf_nodes": (4, 32),
        "l2_regularization": (0.5, 50),
        "min_samples_leaf": (15, 250),
        "max_features": (0.1, 1),
    },
}
_COUNTS = ("max_leaf_nodes", "min_samples_leaf")


def draw_settings(name: str, draw: np.random.Generator) -> dict[str, Any]:
    """Draw settings of an estimator: log-uniformly, to three digits; a depth uniformly."""
    settings: dict[str, Any] = {}
    for setting, (low, high) in SPACE[name].items():
        if setting == "max_depth":
            settings[setting] = int(draw.integers(int(low), int(high) + 1))
            continue
        value = float(f"{np.exp(draw.uniform(np.log(low), np.log(high))):.3g}")
        settings[setting] = round(value) if setting in _COUNTS else value
    return settings


@dataclass(frozen=True, slots=True)
class Budget:
    """Limit of the search in seconds or fits. A limit in fits makes results reproducible."""

    seconds: float | None = None
    fits: int | None = None


@dataclass(frozen=True, slots=True)
class TuningResult:
    """Result of one estimator's search.

    `settings`: empty: keep the defaults.
    `difference`: log-loss of the best settings minus that of the defaults.
    """

    estimator: str
    settings: dict[str, Any]
    tried: int
    fits: int
    difference: Interval | None

    def as_dict(self) -> dict[str, Any]:
        """Return the result for the registry."""
        difference = self.difference and astuple(self.difference)
        interval = difference and [round(x, 6) for x in difference]
        return {
            "settings": self.settings,
            "tried": self.tried,
            "fits": self.fits,
            "log_loss_difference": interval,
        }


@dataclass(slots=True)
class _Trial:
    """Settings and the customers' log-losses per origin, newest first."""

    settings: dict[str, Any]
    losses: list[np.ndarray] = field(default_factory=list)

    @property
    def loss(self) -> float:
        return float(np.mean([origin_losses.mean() for origin_losses in self.losses]))


def tune(
    training: TrainingSet,
    members: Sequence[str],
    budget: Budget,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> list[TuningResult]:
    """Search the settings of all members with a `SPACE`.

    The budget is shared evenly.

    Returns: one per searched member. Empty without an origin to evaluate on.
    """
    origins = rolling.origins(training)
    names = [name for name in members if name in SPACE]
    if not origins or not names:
        return []
    seconds = None if budget.seconds is None else budget.seconds / len(names)
    share = Budget(seconds, None if budget.fits is None else budget.fits // len(names))
    return [
        _search(training, origins, name, share, seed, part(progress, number, len(names)))
        for number, name in enumerate(names)
    ]


def _search(
    training: TrainingSet,
    origins: Sequence[Snapshot],
    name: str,
    budget: Budget,
    seed: int,
    progress: Progress,
) -> TuningResult:
    started, fits = monotonic(), 0
    default = _Trial({})

    def judge(trial: _Trial, origin: Snapshot) -> None:
        nonlocal fits
        trial.losses.append(_losses(training, origin, name, trial.settings, seed))
        fits += 1

    judge(default, origins[0])
    rounds = sum(0.5**number for number in range(len(origins)))
    trials = _affordable_trials(budget, monotonic() - started, rounds)
    draw = np.random.default_rng([seed, *name.encode()])
    remaining = [default, *(_Trial(draw_settings(name, draw)) for _ in range(trials))]
    total = round(len(remaining) * rounds)
    for number, origin in enumerate(origins):
        for trial in remaining:
            if len(trial.losses) <= number and not _is_spent(budget, monotonic() - started, fits):
                text = gettext("Searching settings: {name}")
                progress(fits, max(total, fits + 1), text.format(name=name))
                judge(trial, origin)
        evaluated = [trial for trial in remaining if len(trial.losses) > number]
        if default not in evaluated:
            break
        best = sorted(evaluated, key=lambda trial: trial.loss)[: max(len(evaluated) // 2, 2)]
        remaining = [default, *(trial for trial in best if trial is not default)]
    depth = len(default.losses)
    finalists = [trial for trial in remaining if len(trial.losses) == depth]
    return _result(
        origins, name, default, min(finalists, key=lambda trial: trial.loss), trials, fits
    )


def _result(
    origins: Sequence[Snapshot], name: str, default: _Trial, best: _Trial, trials: int, fits: int
) -> TuningResult:
    if best is default:
        return TuningResult(name, {}, trials, fits, None)
    difference = np.concatenate(best.losses) - np.concatenate(default.losses)
    by_origin = [origin.frame.customer_id for origin in origins[: len(default.losses)]]
    customers = np.concatenate(by_origin)
    interval = paired_interval(difference, customers)
    return TuningResult(name, best.settings if interval.high < 0 else {}, trials, fits, interval)


def _affordable_trials(budget: Budget, seconds_per_fit: float, rounds: float) -> int:
    """Return the number of settings within the budget, besides the defaults."""
    affordable = float(MAX_TRIALS)
    if budget.fits is not None:
        affordable = min(affordable, budget.fits / rounds - 1)
    if budget.seconds is not None:
        affordable = min(affordable, budget.seconds / max(seconds_per_fit, 1e-3) / rounds - 1)
    return max(int(affordable), 0)


def _is_spent(budget: Budget, seconds: float, fits: int) -> bool:
    return (budget.seconds is not None and seconds >= budget.seconds) or (
        budget.fits is not None and fits >= budget.fits
    )


def _losses(
    training: TrainingSet, origin: Snapshot, name: str, settings: Mapping[str, Any], seed: int
) -> np.ndarray:
    """Return each customer's log-loss at an origin, (n,)."""
    train = training.without_doubted(training.before(origin.cutoff))
    member = rolling.fit_on(training, train, name, seed=seed, settings=settings)
    probabilities = estimators.churn_probability(
        member, origin.matrix(training.columns, observed_season=True)
    )
    return log_losses(origin.labels, np.clip(probabilities, 5e-4, 1 - 5e-4))
