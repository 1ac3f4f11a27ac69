"""Settings of the estimators, by a seeded search on the rolling origins, within a budget of time or of fits.

Successive halving (Jamieson, Talwalkar 2016, Non-stochastic Best Arm Identification, AISTATS): many random settings are
judged on the newest origin, the better half of them on the next one too, and so on. The estimator's own settings take part
and stay, unless others were better beyond doubt: the 95 % interval of the paired difference in log-loss, by customer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np

from retention.churn import estimators, rolling
from retention.churn.snapshots import Snapshot, TrainingSet
from retention.churn.uncertainty import Interval, log_losses, paired_interval
from retention.progress import Progress, part, silent

MAX_TRIALS = 64  # settings of one estimator
Draw = Callable[[np.random.Generator], dict[str, Any]]


def _log_uniform(low: float, high: float, draw: np.random.Generator) -> float:
    """Evenly in logarithms, to three digits."""
    return float(f"{np.exp(draw.uniform(np.log(low), np.log(high))):.3g}")


def _quadratic_settings(draw: np.random.Generator) -> dict[str, Any]:
    return {"C": _log_uniform(3e-4, 0.03, draw), "gamma": _log_uniform(1e-3, 0.03, draw)}


SPACE: Mapping[str, Draw] = {
    "logistic": lambda draw: {"C": _log_uniform(1e-3, 1, draw)},
    estimators.PRODUCTS: _quadratic_settings,
    estimators.HORIZONS: _quadratic_settings,
    "svm": lambda draw: {"C": _log_uniform(1e-4, 0.1, draw)},
    "neural": lambda draw: {
        "alpha": _log_uniform(0.1, 10, draw),
        "learning_rate_init": _log_uniform(5e-4, 5e-3, draw),
    },
    "tree": lambda draw: {
        "max_depth": int(draw.integers(3, 10)),
        "min_samples_leaf": round(_log_uniform(20, 300, draw)),
    },
    "forest": lambda draw: {
        "min_samples_leaf": round(_log_uniform(4, 60, draw)),
        "max_features": _log_uniform(0.08, 0.5, draw),
    },
    "extra_trees": lambda draw: {
        "min_samples_leaf": round(_log_uniform(4, 60, draw)),
        "max_features": _log_uniform(0.1, 0.7, draw),
    },
    "boosting": lambda draw: {
        "learning_rate": _log_uniform(0.015, 0.1, draw),
        "max_leaf_nodes": round(_log_uniform(4, 32, draw)),
        "l2_regularization": _log_uniform(0.5, 50, draw),
        "min_samples_leaf": round(_log_uniform(15, 250, draw)),
        "max_features": _log_uniform(0.1, 1, draw),
    },
}


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to search: seconds by the clock, or fits; by fits the same data and seed give the same settings."""

    seconds: float | None = None
    fits: int | None = None


@dataclass(frozen=True, slots=True)
class TuningResult:
    """What one estimator's search found: its settings (empty: its own stay) and how much better they were."""

    estimator: str
    settings: dict[str, Any]
    tried: int
    fits: int
    difference: Interval | None

    def as_dict(self) -> dict[str, Any]:
        """For the registry."""
        gain = (
            None
            if self.difference is None
            else [
                round(x, 6)
                for x in (self.difference.mean, self.difference.low, self.difference.high)
            ]
        )
        return {
            "settings": self.settings,
            "tried": self.tried,
            "fits": self.fits,
            "log_loss_difference": gain,
        }


@dataclass(slots=True)
class _Trial:
    """Settings and each customer's log-loss at the origins they have been judged on, newest first."""

    settings: dict[str, Any]
    losses: list[np.ndarray] = field(default_factory=list)

    @property
    def loss(self) -> float:
        return float(np.mean([one.mean() for one in self.losses]))


def tune(
    training: TrainingSet,
    members: Sequence[str],
    budget: Budget,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> list[TuningResult]:
    """Search the settings of every member that has a `SPACE`; the budget is shared evenly.

    Returns
    -------
    list of Tuned
        One a member searched; empty where there is no origin to judge on.
    """
    origins = rolling.origins(training)
    names = [name for name in members if name in SPACE]
    if not origins or not names:
        return []
    share = Budget(
        None if budget.seconds is None else budget.seconds / len(names),
        None if budget.fits is None else budget.fits // len(names),
    )
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
    own = _Trial({})

    def judge(trial: _Trial, origin: Snapshot) -> None:
        nonlocal fits
        trial.losses.append(_losses(training, origin, name, trial.settings, seed))
        fits += 1

    judge(own, origins[0])
    rounds = sum(0.5**number for number in range(len(origins)))
    planned = _affordable_trials(budget, monotonic() - started, rounds)
    draw = np.random.default_rng([seed, *name.encode()])
    running = [own, *(_Trial(SPACE[name](draw)) for _ in range(planned))]
    total = round(len(running) * rounds)
    for number, origin in enumerate(origins):
        for trial in running:
            if len(trial.losses) <= number and not _is_spent(budget, monotonic() - started, fits):
                progress(fits, max(total, fits + 1), f"Searching settings: {name}")
                judge(trial, origin)
        judged = [trial for trial in running if len(trial.losses) > number]
        if own not in judged:
            break
        best = sorted(judged, key=lambda one: one.loss)[: max(len(judged) // 2, 2)]
        running = [own, *(trial for trial in best if trial is not own)]
    depth = len(own.losses)
    finalists = [trial for trial in running if len(trial.losses) == depth]
    return _result(origins, name, own, min(finalists, key=lambda one: one.loss), planned, fits)


def _result(
    origins: Sequence[Snapshot], name: str, own: _Trial, best: _Trial, tried: int, fits: int
) -> TuningResult:
    if best is own:
        return TuningResult(name, {}, tried, fits, None)
    difference = np.concatenate(best.losses) - np.concatenate(own.losses)
    customers = np.concatenate([one.frame.customer_id for one in origins[: len(own.losses)]])
    found = paired_interval(difference, customers)
    return TuningResult(name, best.settings if found.high < 0 else {}, tried, fits, found)


def _affordable_trials(budget: Budget, one_fit: float, rounds: float) -> int:
    """How many settings fit into the budget beside the estimator's own."""
    affordable = float(MAX_TRIALS)
    if budget.fits is not None:
        affordable = min(affordable, budget.fits / rounds - 1)
    if budget.seconds is not None:
        affordable = min(affordable, budget.seconds / max(one_fit, 1e-3) / rounds - 1)
    return max(int(affordable), 0)


def _is_spent(budget: Budget, seconds: float, fits: int) -> bool:
    return (budget.seconds is not None and seconds >= budget.seconds) or (
        budget.fits is not None and fits >= budget.fits
    )


def _losses(
    training: TrainingSet, origin: Snapshot, name: str, settings: Mapping[str, Any], seed: int
) -> np.ndarray:
    """Each customer's log-loss at an origin by a fit on what was over before it, (n,)."""
    taught = training.without_doubted(training.before(origin.cutoff))
    member = rolling.fit_on(training, taught, name, seed=seed, settings=settings)
    said = estimators.churn_probability(
        member, origin.matrix(training.columns, observed_season=True)
    )
    return log_losses(origin.labels, np.clip(said, 5e-4, 1 - 5e-4))
