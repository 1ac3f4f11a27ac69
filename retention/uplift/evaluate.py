"""Which learner ranks best, and how well: repeated cross-validation, bootstrap intervals, risk and random beside it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from retention.progress import Progress, silent
from retention.uplift.learners import LEARNERS, Mean, Risk, UpliftLearner, check_cells, encoder
from retention.uplift.metrics import METRICS, Ranking, interval, resamples
from retention.uplift.table import Experiment, experiment, read

FOLDS, REPEATS = 5, 2
REPLICATES = 200
RANDOM_DRAWS = 20

Scores = dict[str, np.ndarray]  # name → (repeats, n) out-of-fold


def evaluate(
    data: Path,
    *,
    treatment: str,
    outcome: str,
    features: Sequence[str] = (),
    control: str | None = None,
    arm: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The contract's JSON of ``retention evaluate uplift``.

    Raises
    ------
    BadInput
        The file, a column or its values cannot be used; see `experiment`.
    TooLittleData
        Too few customers with, or without, the outcome in an arm.
    """
    started = perf_counter()
    trial = experiment(
        read(data),
        treatment=treatment,
        outcome=outcome,
        features=features,
        control=control,
        arm=arm,
    )
    return {**judge(trial, seed=seed, progress=progress), "seconds": perf_counter() - started}


def best(
    trial: Experiment, *, seed: int = 0, progress: Progress = silent
) -> tuple[str, np.ndarray]:
    """The learner that `judge` chooses, and what it predicted out of fold, (n,)."""
    scores, fold = cross_validated(trial, LEARNERS, seed=seed, progress=progress)
    name = select({name: _by_fold(trial, scores[name], fold)["qini"] for name in LEARNERS})
    return name, scores[name].mean(axis=0)


def judge(trial: Experiment, *, seed: int = 0, progress: Progress = silent) -> dict[str, Any]:
    """Everything that `evaluate` prints but the seconds."""
    scores, fold = cross_validated(trial, LEARNERS, seed=seed, progress=progress)
    risk = scores.pop("risk")
    by_fold = {name: _by_fold(trial, score, fold) for name, score in scores.items()}
    qini = {name: values["qini"] for name, values in by_fold.items()}
    chosen = select(qini)
    selected = np.empty_like(risk)
    for name, (repeat, at) in zip(picked(qini), _places(fold), strict=True):
        selected[repeat, at] = scores[name][repeat, at]
    beside = {
        "random": np.random.default_rng([seed, 1]).random(risk.shape),
        "risk": risk,
        "response": -risk,
    }
    draws = bootstrap(trial, {"model": scores[chosen], "selection": selected, **beside}, fold, seed)
    arms = [trial.outcome[trial.treated == arm] for arm in (1, 0)]
    return {
        "customers": len(trial.outcome),
        "ate": float(arms[0].mean() - arms[1].mean()),
        "metrics": _means(by_fold[chosen]),
        "intervals": _intervals(draws["model"]),
        "baselines": {
            "random": _random_figures(trial, fold, seed),
            **{name: _means(_by_fold(trial, beside[name], fold)) for name in ("risk", "response")},
        },
        "baseline_intervals": {name: _intervals(draws[name]) for name in beside},
        "selection": {
            "qini": _means(_by_fold(trial, selected, fold))["qini"],
            "interval": interval(draws["selection"]["qini"]),
            "above": {
                name: interval(draws["selection"]["qini"] - draws[name]["qini"]) for name in beside
            },
        },
        "model": chosen,
        "candidates": {
            name: {"qini": float(values.mean()), "standard_error": _standard_error(values)}
            for name, values in qini.items()
        },
        "features": list(trial.features.columns),
        "left_out": trial.left_out,
        "folds": {"repeats": REPEATS, "folds": FOLDS},
    }


def cross_validated(
    trial: Experiment,
    learners: Mapping[str, Callable[[], UpliftLearner]],
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Scores, np.ndarray]:
    """Each learner's predictions of customers that it was not fitted on, with `Risk` beside.

    Returns
    -------
    scores : dict
        Name → (repeats, n).
    fold : ndarray of shape (repeats, n)
        The fold in which each customer was predicted; stratified by arm and outcome.
    """
    check_cells(trial.outcome, trial.treated)
    cells = (2 * trial.treated + trial.outcome).astype(int)
    fold = np.empty((REPEATS, len(cells)), int)
    scores = {name: np.empty((REPEATS, len(cells))) for name in (*learners, "risk")}
    for repeat in range(REPEATS):
        split = StratifiedKFold(FOLDS, shuffle=True, random_state=seed + repeat).split(cells, cells)
        for number, (train, test) in enumerate(split):
            progress(repeat * FOLDS + number, REPEATS * FOLDS, "comparing the learners")
            fold[repeat, test] = number
            for name, score in predicted(trial, learners, train, test).items():
                scores[name][repeat, test] = score
    return scores, fold


def out_of_fold(trial: Experiment, name: str) -> np.ndarray:
    """A learner's predictions, (n,), of customers that it was not fitted on."""
    return cross_validated(trial, {name: LEARNERS[name]})[0][name].mean(axis=0)


def calibration(trial: Experiment, score: np.ndarray) -> float:
    """The slope, 0 … 1, of the true effects on out-of-fold predictions, (n,).

    `effects` have the uplift as their mean whoever the customer is, so their regression on a prediction tells how much
    of the prediction's spread is real.
    """
    effect, centred = effects(trial), score - score.mean()
    spread = float(centred @ centred)
    slope = float(centred @ (effect - effect.mean())) / spread if spread > 0 else 0.0
    return float(np.clip(slope, 0.0, 1.0))


def effects(trial: Experiment) -> np.ndarray:
    """ψ = (y − c) (t − e) / (e (1 − e)) of each customer, (n,): its mean is the uplift, whatever c.

    It scatters least at c = (1 − e) ȳ₁ + e ȳ₀.
    """
    share = np.broadcast_to(np.asarray(trial.propensity, float), trial.outcome.shape)
    treated, control = (trial.outcome[trial.treated == arm].mean() for arm in (1, 0))
    centre = (1 - share) * treated + share * control
    return (trial.outcome - centre) * (trial.treated - share) / (share * (1 - share))


def predicted(
    trial: Experiment,
    learners: Mapping[str, Callable[[], UpliftLearner]],
    train: np.ndarray,
    test: np.ndarray,
) -> Scores:
    """Predictions of the ``test`` rows, the table encoded once for all; a mean is taken of what its members said."""
    prepared = encoder().fit(trial.features.iloc[train])
    seen, unseen = (prepared.transform(trial.features.iloc[rows]) for rows in (train, test))
    share = np.broadcast_to(np.asarray(trial.propensity, float), trial.outcome.shape)[train]
    found: Scores = {}
    with threadpool_limits(
        1
    ):  # the fits are small, and threads that wait for each other cost more than they bring
        for name, learner in {
            **{name: make() for name, make in learners.items()},
            "risk": Risk(),
        }.items():
            if isinstance(learner, Mean) and set(learner.members) <= set(found):
                found[name] = np.mean([found[member] for member in learner.members], axis=0)
            else:
                learner.learn(seen, trial.outcome[train], trial.treated[train], share)
                found[name] = learner.uplift(unseen)
    return found


def select(qini: Mapping[str, np.ndarray]) -> str:
    """The learner with the best mean Qini where it is beyond the first's by more than a standard error; else the first.

    Among near-equals a choice is mostly noise, and it leans the wrong way: of what sums to the same, who did better on
    these folds does worse on the others. So there is a usual learner, and another has to be better in earnest.

    Parameters
    ----------
    qini : mapping
        Name → one Qini a fold, the usual learner first. The standard error is that of the paired difference.
    """
    usual = next(iter(qini))
    best = max(qini, key=lambda name: qini[name].mean())
    gap = qini[best] - qini[usual]
    return best if gap.mean() > _standard_error(gap) else usual


def picked(qini: Mapping[str, np.ndarray]) -> list[str]:
    """For each fold, the learner that the other folds of its repeat choose.

    The best of several figures flatters itself; the figures of these choices do not.
    """
    table = {name: values.reshape(-1, FOLDS) for name, values in qini.items()}
    return [
        select({name: np.delete(values[repeat], number) for name, values in table.items()})
        for repeat in range(len(next(iter(table.values()))))
        for number in range(FOLDS)
    ]


def bootstrap(
    trial: Experiment, scores: Scores, fold: np.ndarray, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Draws of each ranking's figures (mean over folds): customers are drawn anew, the same for every ranking.

    Returns
    -------
    dict
        Name → metric (and ``ate``) → (`REPLICATES`,).
    """
    customers = fold.shape[1]
    blocks = list(_places(fold))
    ranked = {
        name: [
            Ranking.of(trial.outcome[at], score[repeat, at], trial.treated[at])
            for repeat, at in blocks
        ]
        for name, score in scores.items()
    }
    found: dict[str, dict[str, list[np.ndarray]]] = {
        name: {m: [] for m in (*METRICS, "ate")} for name in scores
    }
    for weights in resamples(
        customers, REPLICATES, seed, block=max(1, min(50, 3_000_000 // customers))
    ):
        ate = _weighted_ate(trial, weights)
        for name, rankings in ranked.items():
            measured = [
                ranking.measure(weights[:, at])
                for ranking, (_, at) in zip(rankings, blocks, strict=True)
            ]
            for metric in METRICS:
                found[name][metric].append(np.mean([one[metric] for one in measured], axis=0))
            found[name]["ate"].append(ate)
    return {
        name: {metric: np.concatenate(parts) for metric, parts in values.items()}
        for name, values in found.items()
    }


def _places(fold: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(repeat, customers) of every fold."""
    return [
        (repeat, np.flatnonzero(fold[repeat] == number))
        for repeat in range(len(fold))
        for number in range(FOLDS)
    ]


def _by_fold(trial: Experiment, score: np.ndarray, fold: np.ndarray) -> dict[str, np.ndarray]:
    measured = [
        Ranking.of(trial.outcome[at], score[repeat, at], trial.treated[at]).measure()
        for repeat, at in _places(fold)
    ]
    return {metric: np.array([one[metric][0] for one in measured]) for metric in METRICS}


def _means(by_fold: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """The mean over folds; None where no fold has it."""
    return {
        metric: float(np.mean(known)) if len(known := values[np.isfinite(values)]) else None
        for metric, values in by_fold.items()
    }


def _intervals(draws: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float] | None]:
    return {metric: interval(values) for metric, values in draws.items()}


def _random_figures(trial: Experiment, fold: np.ndarray, seed: int) -> dict[str, float | None]:
    """The mean over many random rankings, for a single one is a matter of luck."""
    rng = np.random.default_rng([seed, 2])
    many = [_by_fold(trial, rng.random(fold.shape), fold) for _ in range(RANDOM_DRAWS)]
    return _means({metric: np.concatenate([one[metric] for one in many]) for metric in METRICS})


def _weighted_ate(trial: Experiment, weights: np.ndarray) -> np.ndarray:
    arms = [weights * (trial.treated == arm) for arm in (1, 0)]
    treated, control = (arm @ trial.outcome / arm.sum(axis=1) for arm in arms)
    return treated - control


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
