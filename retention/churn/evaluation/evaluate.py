"""Evaluate churn models and baselines on known outcomes.

Models are trained before the cutoff only. The baselines are recency alone, logistic regression on
RFM, and BG/NBD.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from retention.churn.estimators import RFM_COLUMNS, signed_log
from retention.churn.evaluation.classification_metrics import (
    brier_decomposition,
    ece_by_chance,
    lift_curve,
    metrics,
    reliability,
)
from retention.churn.evaluation.segments import by_segment, customer_attributes
from retention.churn.evaluation.uncertainty import log_losses, metric_intervals, paired_interval
from retention.churn.model import TrainedChurn, fit
from retention.churn.snapshots import Snapshot, take_snapshot
from retention.churn.training_set import TrainingSet, build_training_set
from retention.errors import BadInput, TooLittleData
from retention.lake.coverage import check_label_window
from retention.progress import Progress, part, silent
from retention.text import gettext
from retention.window import DEFAULT, Window

if TYPE_CHECKING:
    from retention.lake import Lake

# share of customers; number of snapshots, 0 for all
_CURVE = ((1, 1), (1, 2), (1, 4), (1, 0), (1 / 8, 0), (1 / 4, 0), (1 / 2, 0))


BASELINE_COLUMNS = {"recency": ("recency_days",), "rfm_logistic": RFM_COLUMNS}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Predictions of a model and of the baselines at a cutoff.

    `baselines`: name → (n,) probabilities.
    """

    training: TrainingSet
    trained: TrainedChurn
    test: Snapshot
    probabilities: np.ndarray
    baselines: dict[str, np.ndarray]
    seconds: dict[str, float]

    @property
    def metrics(self) -> dict[str, float]:
        """Standard metrics of the model."""
        return metrics(self.test.labels, self.probabilities)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures of one origin."""
        return {
            "cutoff": self.test.cutoff.isoformat(),
            "customers": len(self.probabilities),
            "base_rate": float(self.test.labels.mean()),
            "metrics": self.metrics,
            "model": self.trained.estimator,
            "baselines": {
                name: metrics(self.test.labels, baseline)
                for name, baseline in self.baselines.items()
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to evaluate.

    `model`: ``auto`` or one of `retention.churn.estimators.ESTIMATORS`.
    `origins`: rolling origins, one horizon apart, each with its own model.
    `by`: customer attributes to segment by, besides orders, spend, channel and tier. By default all
    with few values.
    `tiers`: probabilities of the high and the medium tier.
    `curve`: also learn from fewer customers and snapshots.
    """

    cutoff: datetime
    window: Window = DEFAULT
    model: str = "auto"
    origins: int = 1
    by: Sequence[str] = ()
    tiers: tuple[float, float] | None = None
    curve: bool = False


def evaluate(
    lake: "Lake", plan: Plan, progress: Progress = silent
) -> tuple[dict[str, Any], Evaluation]:
    """Evaluate the training recipe at one or more origins.

    Trains on snapshots with label windows that end at or before the cutoff and scores the
    customers active there.

    Returns: the JSON of ``retention evaluate churn``: the top-level figures are those of the
    cutoff; ``summary`` has mean and standard deviation over the origins.
    Returns: the predictions at the cutoff.
    Raises `BadInput`: if the window after the cutoff is not over, the horizon is too long for the
    history, or an attribute is unknown.
    """
    horizon_days = plan.window.horizon_days
    check_label_window(lake, plan.cutoff, horizon_days)
    attributes = _requested_attributes(lake, plan.by)
    cutoffs = [plan.cutoff - timedelta(days=horizon_days * n) for n in range(plan.origins)]
    steps = plan.origins + plan.curve
    evaluations = [
        evaluate_at(lake, moment, plan.window, plan.model, part(progress, number, steps))
        for number, moment in enumerate(cutoffs)
    ]
    report = _report(evaluations, by_segment(*_pooled(evaluations), attributes, tiers=plan.tiers))
    if plan.curve:
        last = part(progress, plan.origins, steps)
        report["learning_curve"] = learning_curve(evaluations[0], plan.model, last)
    return report, evaluations[0]


def evaluate_at(
    lake: "Lake", cutoff: datetime, window: Window, model: str, progress: Progress
) -> Evaluation:
    """Train before a cutoff and score the customers active at it.

    Raises `BadInput, TooLittleData`: see `evaluate`.
    """
    started = perf_counter()
    inner = part(progress, 0, 2)
    training = build_training_set(lake, cutoff=cutoff, window=window, progress=inner)
    featured = perf_counter()
    trained = fit(training, model=model, progress=part(progress, 1, 2))
    fitted = perf_counter()
    test = take_snapshot(lake, cutoff, window)
    labels = test.churned
    if labels is None or not len(labels) or not 0 < labels.sum() < len(labels):
        count = len(test.frame)
        raise TooLittleData(
            gettext(
                "Of the {count} customers active at {local:%Y-%m-%d} all did the same in the "
                "{horizon_days} days after it; there is nothing to measure. Choose another "
                "--cutoff or --horizon."
            ).format(count=count, local=lake.local(cutoff), horizon_days=window.horizon_days)
        )
    probabilities = trained.predict(test)
    seconds = {
        "features": featured - started,
        "train": fitted - featured,
        "score": perf_counter() - fitted,
    }
    baselines = baseline_probabilities(training, test)
    return Evaluation(training, trained, test, probabilities, baselines, seconds)


def _report(evaluations: Sequence[Evaluation], segments: list[dict[str, Any]]) -> dict[str, Any]:
    newest = evaluations[0]
    trained, labels, probabilities = newest.trained, newest.test.labels, newest.probabilities
    origins = [
        (_ids(evaluation), evaluation.test.labels, evaluation.probabilities)
        for evaluation in evaluations
    ]
    report = {
        **newest.as_dict(),
        "features": list(trained.columns),
        "train_rows": trained.train_rows,
        "seconds": newest.seconds,
        "horizon_days": trained.horizon_days,
        "active_within_days": trained.active_within_days,
        "rung": trained.rung,
        "calibration": trained.calibration,
        "reliability": reliability(labels, probabilities),
        "ece_by_chance": ece_by_chance(probabilities),
        "brier_decomposition": brier_decomposition(labels, probabilities),
        "lift_curve": lift_curve(labels, probabilities),
        "intervals": metric_intervals(metrics, origins),
        "against": _baseline_differences(evaluations),
        "segments": segments,
    }
    if len(evaluations) > 1:
        each = [evaluation.as_dict() for evaluation in evaluations]
        report["origins"] = each
        report["summary"] = {
            "model": _summary([evaluation["metrics"] for evaluation in each]),
            **{
                name: _summary([evaluation["baselines"][name] for evaluation in each])
                for name in newest.baselines
            },
        }
    return report


def _baseline_differences(evaluations: Sequence[Evaluation]) -> dict[str, dict[str, float]]:
    """Return log-loss differences to each baseline.

    Each has its interval. Below 0 the model is better.
    """
    customers = np.concatenate([_ids(evaluation) for evaluation in evaluations])
    differences = {}
    for name in evaluations[0].baselines:
        gaps = [
            log_losses(evaluation.test.labels, evaluation.probabilities)
            - log_losses(evaluation.test.labels, evaluation.baselines[name])
            for evaluation in evaluations
        ]
        interval = paired_interval(np.concatenate(gaps), customers)
        differences[name] = {"log_loss": interval.mean, "low": interval.low, "high": interval.high}
    return differences


def _summary(metrics_by_origin: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation of each metric over origins."""
    return {
        name: {
            "mean": float(np.mean([origin[name] for origin in metrics_by_origin])),
            "sd": float(np.std([origin[name] for origin in metrics_by_origin], ddof=1)),
        }
        for name in metrics_by_origin[0]
    }


def _pooled(evaluations: Sequence[Evaluation]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    return (
        pd.concat([evaluation.test.frame for evaluation in evaluations], ignore_index=True),
        np.concatenate([evaluation.test.labels for evaluation in evaluations]),
        np.concatenate([evaluation.probabilities for evaluation in evaluations]),
    )


def _ids(evaluation: Evaluation) -> np.ndarray:
    return evaluation.test.frame.customer_id.astype(str).to_numpy(dtype=object)


def learning_curve(evaluation: Evaluation, model: str, progress: Progress) -> list[dict[str, Any]]:
    """Measure metrics with less training data.

    Fewer customers or snapshots are used; the test set stays the same. Samples are drawn by hash,
    so each is part of the next larger one.

    Returns: ``customers_share``, ``snapshots``, ``train_rows``, ``log_loss``, ``auc``. Samples that
    are too small are left out.
    """
    most = len(evaluation.training.snapshots)
    sizes = {(share, min(number or most, most)) for share, number in _CURVE}
    points = []
    for place, (share, number) in enumerate(sorted(sizes)):
        snapshots = tuple(
            snapshot.rows(_hash_share(snapshot) < share)
            for snapshot in evaluation.training.snapshots[:number]
        )
        try:
            fewer = replace(evaluation.training, snapshots=snapshots, fits={})
            trained = fit(fewer, model=model, progress=part(progress, place, len(sizes)))
        except TooLittleData:
            continue
        figures = metrics(evaluation.test.labels, trained.predict(evaluation.test))
        points.append(
            {
                "customers_share": share,
                "snapshots": number,
                "train_rows": trained.train_rows,
                "log_loss": figures["log_loss"],
                "auc": figures["auc"],
                "model": trained.estimator,
            }
        )
    return points


def _hash_share(snapshot: Snapshot) -> np.ndarray:
    return snapshot.hashed / np.float64(2**64)


def _requested_attributes(lake: "Lake", names: Sequence[str]) -> pd.DataFrame:
    """Return customer attributes, indexed by customer id."""
    attributes = customer_attributes(lake, names)
    for name in names:
        if name not in attributes.columns:
            available = ", ".join(customer_attributes(lake).columns) or "none"
            text = gettext(
                "--by {name}: no customer has an attribute of that name; with few different "
                "values there are: {available}."
            )
            raise BadInput(text.format(name=name, available=available))
    return attributes


def baseline_metrics(training: TrainingSet, test: Snapshot) -> dict[str, dict[str, float]]:
    """Compute the metrics of each baseline.

    `training`: before the test snapshot.
    """
    return {
        name: metrics(test.labels, probability)
        for name, probability in baseline_probabilities(training, test).items()
    }


def baseline_probabilities(training: TrainingSet, test: Snapshot) -> dict[str, np.ndarray]:
    """Return P(churn) of each baseline, name → (n,)."""
    probabilities = {}
    for name, columns in BASELINE_COLUMNS.items():
        X, y = training.stacked(columns)
        model = make_pipeline(
            FunctionTransformer(signed_log), StandardScaler(), LogisticRegression()
        ).fit(np.nan_to_num(X), y)
        probabilities[name] = model.predict_proba(np.nan_to_num(test.matrix(columns)))[:, 1]
    return {**probabilities, "bg_nbd": test.frame.bg_no_purchase.to_numpy()}
