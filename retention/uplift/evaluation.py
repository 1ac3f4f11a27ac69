"""Compare uplift learners and test for heterogeneous effects."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from retention.errors import TooLittleData
from retention.progress import Progress, silent
from retention.text import gettext
from retention.uplift.experiment import Experiment, build_experiment, read_table
from retention.uplift.learners import (
    LEARNERS,
    MIN_CELL,
    MeanLearner,
    RiskBaseline,
    UpliftLearner,
    check_cells,
    encoder,
)
from retention.uplift.uplift_metrics import (
    METRICS,
    UpliftRanking,
    bootstrap_weights,
    percentile_interval,
)

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
    """Compare uplift learners on an experiment in a file.

    Returns: JSON of ``retention evaluate uplift``.
    Raises `BadInput`: the file, a column or its values cannot be used; see `build_experiment`.
    Raises `TooLittleData`: too few customers with, or without, the outcome in an arm.
    """
    started = perf_counter()
    table = read_table(data)
    trial = build_experiment(table, treatment, outcome, features, control=control, arm=arm)
    report, _ = compare_learners(trial, seed=seed, progress=progress)
    return {**report, "seconds": perf_counter() - started}


def select_learner(
    trial: Experiment, *, seed: int = 0, progress: Progress = silent
) -> tuple[str, np.ndarray]:
    """Select a learner and predict out of fold. The selection is that of `compare_learners`."""
    scores, fold = cross_validate(trial, LEARNERS, seed=seed, progress=progress)
    qini = {name: _measure_folds(trial, scores[name], fold)["qini"] for name in LEARNERS}
    name = select_by_qini(qini)
    return name, scores[name].mean(axis=0)


def compare_learners(
    trial: Experiment, *, seed: int = 0, progress: Progress = silent
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Compare learners by repeated cross-validation.

    Intervals come from the bootstrap.

    Returns: output of `evaluate` without the seconds; and the out-of-fold predictions: ``model``
    and ``risk`` → (n,), the means over the repeats.
    """
    scores, fold = cross_validate(trial, LEARNERS, seed=seed, progress=progress)
    risk = scores.pop("risk")
    by_fold = {name: _measure_folds(trial, score, fold) for name, score in scores.items()}
    qini = {name: values["qini"] for name, values in by_fold.items()}
    chosen = select_by_qini(qini)
    selected = np.empty_like(risk)
    for name, (repeat, rows) in zip(select_per_fold(qini), _fold_rows(fold), strict=True):
        selected[repeat, rows] = scores[name][repeat, rows]
    baselines = {
        "random": np.random.default_rng([seed, 1]).random(risk.shape),
        "risk": risk,
        "response": -risk,
    }
    rankings = {"model": scores[chosen], "selection": selected, **baselines}
    draws = bootstrap(trial, rankings, fold, seed)
    arms = [trial.outcome[trial.treated == arm] for arm in (1, 0)]
    figures = {"random": _random_figures(trial, fold, seed)}
    for name in ("risk", "response"):
        figures[name] = _means(_measure_folds(trial, baselines[name], fold))
    selection = draws["selection"]["qini"]
    report = {
        "customers": len(trial.outcome),
        "ate": float(arms[0].mean() - arms[1].mean()),
        "metrics": _means(by_fold[chosen]),
        "intervals": _intervals(draws["model"]),
        "baselines": figures,
        "baseline_intervals": {name: _intervals(draws[name]) for name in baselines},
        "selection": {
            "qini": _means(_measure_folds(trial, selected, fold))["qini"],
            "interval": percentile_interval(selection),
            "above": {
                name: percentile_interval(selection - draws[name]["qini"]) for name in baselines
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
    return report, {"model": scores[chosen].mean(axis=0), "risk": risk.mean(axis=0)}


def cross_validate(
    trial: Experiment,
    learners: Mapping[str, Callable[[], UpliftLearner]],
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Scores, np.ndarray]:
    """Predict out of fold, including `RiskBaseline`.

    Returns: fold in which each customer was predicted; stratified by arm and outcome.
    """
    check_cells(trial.outcome, trial.treated)
    customers, what = len(trial.outcome), gettext("comparing the learners")
    fold = np.empty((REPEATS, customers), int)
    scores = {name: np.empty((REPEATS, customers)) for name in (*learners, "risk")}
    for repeat in range(REPEATS):
        for number, (train, test) in enumerate(_split(trial, FOLDS, seed + repeat)):
            progress(repeat * FOLDS + number, REPEATS * FOLDS, what)
            fold[repeat, test] = number
            for name, score in predict_split(trial, learners, train, test).items():
                scores[name][repeat, test] = score
    return scores, fold


def _split(trial: Experiment, parts: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the other rows and the rows of each part. Parts are stratified by arm and outcome."""
    splitter = StratifiedKFold(parts, shuffle=True, random_state=seed)
    return splitter.split(trial.cells, trial.cells)


def out_of_fold_predictions(trial: Experiment, name: str) -> np.ndarray:
    """Predict out of fold with one learner. The result is (n,)."""
    return cross_validate(trial, {name: LEARNERS[name]})[0][name].mean(axis=0)


def calibration_slope(trial: Experiment, score: np.ndarray) -> float:
    """Regress effects on out-of-fold predictions.

    The slope is clipped to 0 … 1. The mean of `transformed_outcomes` is the uplift for any group of
    customers. Their slope on a prediction is the share of the prediction's spread that is real.
    """
    effect, centred = transformed_outcomes(trial), score - score.mean()
    spread = float(centred @ centred)
    slope = float(centred @ (effect - effect.mean())) / spread if spread > 0 else 0.0
    return float(np.clip(slope, 0.0, 1.0))


def transformed_outcomes(trial: Experiment) -> np.ndarray:
    """Compute transformed outcomes, (n,).

    Their mean is the uplift. ψ = (y − c) (t − e) / (e (1 − e)), for any c. The variance is lowest
    at c = (1 − e) ȳ₁ + e ȳ₀.
    """
    share = trial.shares
    treated, control = (trial.outcome[trial.treated == arm].mean() for arm in (1, 0))
    centre = (1 - share) * treated + share * control
    return (trial.outcome - centre) * (trial.treated - share) / (share * (1 - share))


def predict_split(
    trial: Experiment,
    learners: Mapping[str, Callable[[], UpliftLearner]],
    train: np.ndarray,
    test: np.ndarray,
) -> Scores:
    """Predict ``test`` rows by learners fitted on ``train`` rows.

    The table is encoded once. A `MeanLearner` averages the predictions of its members.
    """
    encoded = encoder().fit(trial.features.iloc[train])
    known, wanted = (encoded.transform(trial.features.iloc[rows]) for rows in (train, test))
    outcome, treated = trial.outcome[train], trial.treated[train]
    predictions: Scores = {}
    with threadpool_limits(1):  # the fits are small; waiting threads cost more than they save
        for name, factory in {**learners, "risk": RiskBaseline}.items():
            learner = factory()
            if isinstance(learner, MeanLearner) and set(learner.members) <= set(predictions):
                members = [predictions[member] for member in learner.members]
                predictions[name] = np.mean(members, axis=0)
            else:
                learner.learn(known, outcome, treated, trial.shares[train])
                predictions[name] = learner.uplift(wanted)
    return predictions


def select_by_qini(qini: Mapping[str, np.ndarray]) -> str:
    """Select the learner with the best Qini.

    It must be clearly better than the default. The default is the first learner. The best one must
    exceed it by more than a standard error of the paired difference. Among near-equals the choice
    is mostly noise, biased against the other folds.
    """
    default = next(iter(qini))
    best = max(qini, key=lambda name: qini[name].mean())
    gap = qini[best] - qini[default]
    return best if gap.mean() > _standard_error(gap) else default


def select_per_fold(qini: Mapping[str, np.ndarray]) -> list[str]:
    """Select a learner for each fold.

    The other folds of the same repeat decide. The best of several estimates is optimistic;
    estimates of these choices are not.
    """
    by_repeat = {name: values.reshape(-1, FOLDS) for name, values in qini.items()}
    return [
        select_by_qini(
            {name: np.delete(values[repeat], number) for name, values in by_repeat.items()}
        )
        for repeat in range(len(next(iter(by_repeat.values()))))
        for number in range(FOLDS)
    ]


def bootstrap(
    trial: Experiment, scores: Scores, fold: np.ndarray, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Draw bootstrap replicates of ranking metrics.

    Metrics are averaged over folds. All rankings use the same draws of customers.
    """
    customers = fold.shape[1]
    rankings = {name: _fold_rankings(trial, score, fold) for name, score in scores.items()}
    draws: dict[str, dict[str, list[np.ndarray]]] = {
        name: {metric: [] for metric in (*METRICS, "ate")} for name in scores
    }
    block = max(1, min(50, 3_000_000 // customers))
    for weights in bootstrap_weights(customers, REPLICATES, seed, block):
        ate = _weighted_ate(trial, weights)
        for name, by_fold in rankings.items():
            measured = [ranking.measure(weights[:, rows]) for ranking, rows in by_fold]
            for metric in METRICS:
                mean = np.mean([values[metric] for values in measured], axis=0)
                draws[name][metric].append(mean)
            draws[name]["ate"].append(ate)
    return {
        name: {metric: np.concatenate(parts) for metric, parts in values.items()}
        for name, values in draws.items()
    }


def _fold_rows(fold: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """List (repeat, customers) of every fold."""
    return [
        (repeat, np.flatnonzero(fold[repeat] == number))
        for repeat in range(len(fold))
        for number in range(FOLDS)
    ]


def _fold_rankings(
    trial: Experiment, score: np.ndarray, fold: np.ndarray
) -> list[tuple[UpliftRanking, np.ndarray]]:
    """Rank the customers of every fold. The customers are returned, too."""
    return [
        (UpliftRanking.of(trial.outcome[rows], score[repeat, rows], trial.treated[rows]), rows)
        for repeat, rows in _fold_rows(fold)
    ]


def _measure_folds(trial: Experiment, score: np.ndarray, fold: np.ndarray) -> dict[str, np.ndarray]:
    """Measure a ranking in each fold: metric → (folds,)."""
    by_fold = [ranking.measure() for ranking, _ in _fold_rankings(trial, score, fold)]
    return {metric: np.array([values[metric][0] for values in by_fold]) for metric in METRICS}


def _means(by_fold: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Average over folds with values. The result is None without any."""
    return {
        metric: float(np.mean(known)) if len(known := values[np.isfinite(values)]) else None
        for metric, values in by_fold.items()
    }


def _intervals(draws: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float] | None]:
    return {metric: percentile_interval(values) for metric, values in draws.items()}


def _random_figures(trial: Experiment, fold: np.ndarray, seed: int) -> dict[str, float | None]:
    """Average over many random rankings. A single one depends on luck."""
    rng = np.random.default_rng([seed, 2])
    many = [_measure_folds(trial, rng.random(fold.shape), fold) for _ in range(RANDOM_DRAWS)]
    joined = {metric: np.concatenate([each[metric] for each in many]) for metric in METRICS}
    return _means(joined)


def _weighted_ate(trial: Experiment, weights: np.ndarray) -> np.ndarray:
    arms = [weights * (trial.treated == arm) for arm in (1, 0)]
    treated, control = (arm @ trial.outcome / arm.sum(axis=1) for arm in arms)
    return treated - control


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


PARTS = 5
SEQUENTIAL_LEARNERS = ("s_logistic", "risk_modelling")  # both need little data


@dataclass(frozen=True, slots=True)
class RankingGain:
    """Hold the gain over a random order.

    It comes with its 95% interval. ``mean`` is the unnormalised Qini area: additional outcomes per
    customer, averaged over the shares that could be treated.
    """

    mean: float
    low: float
    high: float


def sequential_gain(
    trial: Experiment, *, seed: int = 0, progress: Progress = silent
) -> RankingGain:
    """Rank parts by learners of earlier parts.

    Two learners rank together, by the mean of their ranks. Selecting the best of several afterwards
    would be optimistic.

    Raises `TooLittleData`: too few customers with, or without, the outcome in an arm.

    Notes
    -----
    With r the rank as a share and ψ of `transformed_outcomes`, the area is the mean of d = (r − ½)
    (ψ − ψ̄) (Yadlowsky et al. 2025, RATE with linear weights). If nothing moderates the effect, d
    has mean zero given all earlier parts: the sums are a martingale, and Σd / √Σd² is standard
    normal (Luedtke & van der Laan 2016; Wager 2024, "Sequential Validation of Treatment
    Heterogeneity"). Folds of a cross-validation have no such order: each learner has seen the
    outcomes of all other folds, so their metrics vary together, and an interval that ignores this
    is too narrow.
    """
    check_cells(trial.outcome, trial.treated)
    part = np.empty(len(trial.outcome), int)
    for number, (_, current) in enumerate(_split(trial, PARTS, seed)):
        part[current] = number
    effects = transformed_outcomes(trial)
    learners = {name: LEARNERS[name] for name in SEQUENTIAL_LEARNERS}
    what = gettext("asking whether an offer moves some more than others")
    gains = []
    for number in range(1, PARTS):
        progress(number - 1, PARTS - 1, what)
        earlier, current = np.flatnonzero(part < number), np.flatnonzero(part == number)
        if np.bincount(trial.cells[earlier], minlength=4).min() >= MIN_CELL:
            scores = predict_split(trial, learners, earlier, current)
            ranks = [rankdata(scores[name]) for name in SEQUENTIAL_LEARNERS]
            share = (rankdata(np.mean(ranks, axis=0)) - 0.5) / len(current)
            effect = effects[current]
            gains.append((share - 0.5) * (effect - effect.mean()))
    if not gains:
        raise TooLittleData(
            gettext(
                "Too few customers with, or without, the outcome in an arm to learn from a "
                "part of them."
            )
        )
    gain = np.concatenate(gains)
    half_width = float(norm.ppf(0.975) * np.sqrt(gain @ gain) / len(gain))
    mean = float(gain.mean())
    return RankingGain(mean, mean - half_width, mean + half_width)
