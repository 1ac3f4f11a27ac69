"""Evaluate candidates on rolling origins.

At each of the newest snapshots, members trained on earlier ones predict the outcome.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from retention.churn import estimators
from retention.churn.calibration import MIN_CHURNERS, cross_fit_splits, fit_map
from retention.churn.evaluation.uncertainty import Interval, log_losses, paired_interval
from retention.churn.snapshots import Snapshot
from retention.churn.training_set import (
    TrainingSet,
    stack_rows,
    stacked_observed_horizons,
    stacked_return_times,
)
from retention.progress import Progress, part, silent

MAX_ORIGINS = 3
FEWER_ORIGINS_ROWS, FEWER_ORIGINS_ROWS_SEASONAL = 40_000, 20_000  # above, use one origin less
BLEND_TOLERANCE = 0.05  # a single model must beat every blend by this share of the log-loss


@dataclass(frozen=True, slots=True)
class OriginPredictions:
    """Out-of-sample predictions at one origin.

    `probabilities`: member → (n,) probabilities, with the season that happened.
    `forecasts`: the same with the season that was forecast then. Empty: the same.
    """

    snapshot: Snapshot
    probabilities: Mapping[str, np.ndarray]
    labels: np.ndarray
    forecasts: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EvaluatedCandidate:
    """A blend of members and its out-of-time log-loss."""

    name: str
    members: tuple[str, ...]
    weights: tuple[float, ...] | None
    log_loss: float

    def probabilities(self, origin: OriginPredictions) -> np.ndarray:
        """Return the candidate's probabilities at an origin, (n,)."""
        table = [origin.probabilities[member] for member in self.members]
        return np.average(table, axis=0, weights=self.weights)


def out_of_time_predictions(
    training: TrainingSet, members: Sequence[str], *, seed: int, progress: Progress
) -> list[OriginPredictions]:
    """Predict the newest origins out of time.

    Members are fitted on earlier label windows and use the observed season. The error of the
    season forecast is one number for all customers and members, and its effect at one origin says
    nothing about the next.

    Returns: empty if no label window ended before the newest snapshot.
    """
    newest = origins(training)
    predictions = []
    for number, origin in enumerate(newest):
        earlier = training.before(origin.cutoff)
        inner = part(progress, number, len(newest))
        fitted = fit_members(training, earlier, members, seed=seed, progress=inner)
        named = dict(zip(members, fitted, strict=True))
        observed, forecast = _both_seasons(origin, training, named)
        predictions.append(OriginPredictions(origin, observed, origin.labels, forecast))
    return predictions


def cross_customer_predictions(
    training: TrainingSet, members: Sequence[str], *, seed: int, progress: Progress
) -> OriginPredictions | None:
    """Predict each half of the customers from the other.

    The customers are those of the newest snapshot. This favours learned members, because they know
    the moment that they predict.

    Returns: none if a half has too few outcomes.
    """
    newest = training.newest
    probabilities, forecasts = (
        {name: np.empty(len(newest.frame)) for name in members} for _ in "12"
    )
    for number, half in enumerate((True, False)):
        snapshots = training.without_doubted(training.snapshots)
        train = [snapshot.rows(_even_half(snapshot) == half) for snapshot in snapshots]
        is_test = _even_half(newest) != half
        _, y = stack_rows(train, training.columns)
        if not MIN_CHURNERS <= y.sum() <= len(y) - MIN_CHURNERS:
            return None
        for place, name in enumerate(members):
            inner = part(part(progress, number, 2), place, len(members))
            settings = training.settings.get(name, {})
            member = fit_on(training, train, name, seed=seed, settings=settings, progress=inner)
            of_half = _both_seasons(newest.rows(is_test), training, {name: member})
            for whole, some in zip((probabilities, forecasts), of_half, strict=True):
                whole[name][is_test] = some[name]
    return OriginPredictions(newest, probabilities, newest.labels, forecasts)


def _both_seasons(
    snapshot: Snapshot, training: TrainingSet, members: Mapping[str, BaseEstimator]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the members' probabilities, with the season that happened and as it was forecast."""

    def predicted(*, observed_season: bool) -> dict[str, np.ndarray]:
        X = snapshot.matrix(training.columns, observed_season=observed_season)
        return {name: estimators.churn_probability(member, X) for name, member in members.items()}

    observed = predicted(observed_season=True)
    return observed, predicted(observed_season=False) if training.has_season else observed


def _even_half(snapshot: Snapshot) -> np.ndarray:
    """Return the mask of one half of the customers, (n,)."""
    return snapshot.hashed % 2 == 0


def not_worse_than_closed_forms(
    members: Sequence[str], predictions: OriginPredictions
) -> tuple[str, ...]:
    losses = {
        name: log_losses(predictions.labels, predictions.probabilities[name]).mean()
        for name in members
    }
    best = min(losses[name] for name in members if name in estimators.CLOSED_FORM_COLUMNS)
    return tuple(
        name for name in members if name in estimators.CLOSED_FORM_COLUMNS or losses[name] <= best
    )


def origins(training: TrainingSet) -> list[Snapshot]:
    """Return the origins to evaluate on, newest first.

    These are the newest snapshots with enough earlier data. Their label windows do not overlap.
    """
    rows = sum(len(snapshot.frame) for snapshot in training.snapshots)
    row_limit = FEWER_ORIGINS_ROWS_SEASONAL if training.has_season else FEWER_ORIGINS_ROWS
    max_origins = MAX_ORIGINS if rows <= row_limit else MAX_ORIGINS - 1
    chosen: list[Snapshot] = []
    candidates = training.snapshots
    while candidates and len(chosen) < max_origins:
        earlier = training.before(candidates[0].cutoff)
        labels = (
            np.concatenate([snapshot.labels for snapshot in earlier]) if earlier else np.empty(0)
        )
        if not MIN_CHURNERS <= labels.sum() <= len(labels) - MIN_CHURNERS:
            break
        chosen.append(candidates[0])
        candidates = earlier
    return chosen


def fit_members(
    training: TrainingSet,
    snapshots: Sequence[Snapshot],
    names: Sequence[str],
    *,
    seed: int,
    progress: Progress,
) -> list[BaseEstimator]:
    """Fit members on snapshots, or return the same earlier fits.

    Members share the scaled rows. They are fitted one after the other: two threads at once raised
    the peak of memory by a quarter.
    """
    moments = tuple(snapshot.cutoff for snapshot in snapshots)
    settings = {name: training.settings.get(name, {}) for name in names}
    keys = {
        name: (name, seed, training.columns, moments, tuple(sorted(settings[name].items())))
        for name in names
    }
    missing = [name for name in names if keys[name] not in training.fits]
    if missing:
        examples = _examples(training, training.without_doubted(snapshots))
        for number, name in enumerate(missing):
            inner = part(progress, number, len(missing))
            training.fits[keys[name]] = estimators.fit_member(
                name, examples, seed=seed, progress=inner, settings=settings[name]
            )
    return [training.fits[keys[name]] for name in names]


def _examples(training: TrainingSet, snapshots: Sequence[Snapshot]) -> estimators.Examples:
    X, y = stack_rows(snapshots, training.columns)
    return estimators.Examples(
        estimators.prepare(X),
        y,
        stacked_return_times(snapshots),
        stacked_observed_horizons(snapshots, training.horizon_days),
        training.columns,
    )


def fit_on(
    training: TrainingSet,
    snapshots: Sequence[Snapshot],
    name: str,
    *,
    seed: int,
    settings: Mapping[str, Any],
    progress: Progress = silent,
) -> BaseEstimator:
    """Fit a member on the rows of snapshots."""
    examples = _examples(training, snapshots)
    return estimators.fit_member(name, examples, seed=seed, progress=progress, settings=settings)


def evaluate_candidate(
    name: str, predictions: Sequence[OriginPredictions], *, method: str = "sigmoid"
) -> EvaluatedCandidate:
    """Compute a candidate's log-loss by cross-fitting.

    `method`: calibration map, see `retention.churn.calibration.fit_map`.
    """
    available = tuple(predictions[0].probabilities)
    members = (
        estimators.stack_members(available) if name == "stacked" else estimators.members_of(name)
    )
    candidate = EvaluatedCandidate(name, members, None, float("nan"))
    losses = [own.mean() for _, own in _cross_fitted_losses(candidate, predictions, method)]
    tables, labels = _tables(candidate, predictions), [origin.labels for origin in predictions]
    every = [(test, slice(None)) for test in range(len(predictions))]
    weights = _stack_weights(name, tables, labels, every)
    stored_weights = None if weights is None else tuple(float(weight) for weight in weights)
    return replace(candidate, weights=stored_weights, log_loss=float(np.mean(losses)))


def _tables(
    candidate: EvaluatedCandidate,
    predictions: Sequence[OriginPredictions],
    *,
    forecast: bool = False,
) -> list[np.ndarray]:
    """Return the members' probabilities at each origin, (members, n)."""
    sources = [
        origin.forecasts if forecast and origin.forecasts else origin.probabilities
        for origin in predictions
    ]
    return [np.array([source[member] for member in candidate.members]) for source in sources]


def _cross_fitted_losses(
    candidate: EvaluatedCandidate,
    predictions: Sequence[OriginPredictions],
    method: str,
    *,
    forecast: bool = False,
) -> Iterator[tuple[tuple[int, slice], np.ndarray]]:
    """Yield origin and rows with their log-losses; weights and map come from the other rows."""
    labels = [origin.labels for origin in predictions]
    tables = _tables(candidate, predictions)
    test_tables = _tables(candidate, predictions, forecast=forecast)
    for train, test, rows in cross_fit_splits(labels):
        weights = _stack_weights(candidate.name, tables, labels, train)
        means = [np.average(table, axis=0, weights=weights) for table in tables]
        p = np.average(test_tables[test][:, rows], axis=0, weights=weights)
        p = np.clip(fit_map(method, means, labels, train).map(p), 5e-4, 1 - 5e-4)
        yield (test, rows), log_losses(labels[test][rows], p)


def lead_of_plain(
    chosen: EvaluatedCandidate, predictions: Sequence[OriginPredictions], *, method: str
) -> Interval | None:
    """Return by how much the plain logistic regression on RFM beats the choice.

    None unless its log-loss is lower beyond chance on the newest complete windows. The choice is
    judged as it would have predicted: with the season that was forecast then, and a map and weights
    from other rows. Without an earlier origin (``log_loss`` is NaN) it has neither.

    `method`: see `evaluate_candidate`.
    """
    if not predictions or estimators.RFM not in predictions[0].probabilities:
        return None
    losses: Iterable[tuple[tuple[int, slice], np.ndarray]]
    if np.isnan(chosen.log_loss):
        tables = _tables(chosen, predictions, forecast=True)
        losses = [
            ((number, slice(None)), log_losses(origin.labels, tables[number].mean(axis=0)))
            for number, origin in enumerate(predictions)
        ]
    else:
        losses = _cross_fitted_losses(chosen, predictions, method, forecast=True)
    gaps, customers = [], []
    for (number, rows), own in losses:
        origin = predictions[number]
        plain = origin.probabilities[estimators.RFM][rows]
        gaps.append(log_losses(origin.labels[rows], plain) - own)
        customers.append(origin.snapshot.frame.customer_id.to_numpy()[rows])
    lead = paired_interval(np.concatenate(gaps), np.concatenate(customers))
    return lead if lead.high < 0 else None


def choose_candidate(candidates: Sequence[EvaluatedCandidate]) -> EvaluatedCandidate:
    """Choose the best blend or a far better model.

    A single model's lead at a few origins is mostly luck. On parts of a real shop (51 cells of 500
    to 1,000 customers), choosing by log-loss alone lost a fifth of the blend's lead over the
    baselines (docs/data_scientist/auto.md).
    """
    best = min(candidates, key=lambda candidate: candidate.log_loss)
    blends = [candidate for candidate in candidates if len(candidate.members) > 1] or [best]
    blend = min(blends, key=lambda candidate: candidate.log_loss)
    return blend if blend.log_loss <= best.log_loss * (1 + BLEND_TOLERANCE) else best


def _stack_weights(
    name: str,
    tables: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    train: Sequence[tuple[int, slice]],
) -> np.ndarray | None:
    if name != "stacked":
        return None
    return estimators.blend_weights(
        np.concatenate([tables[origin][:, rows] for origin, rows in train], axis=1),
        np.concatenate([labels[origin][rows] for origin, rows in train]),
    )
