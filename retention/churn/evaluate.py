"""How good would the model have been? Trained before the cutoff only, judged by what then happened."""

from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

from retention.churn.baselines import baselines
from retention.churn.metrics import metrics, reliability
from retention.churn.model import fit
from retention.churn.snapshots import TrainingSet, history, take
from retention.errors import BadInput, TooLittleData
from retention.progress import Progress, part, silent


def evaluate(
    lake: Any,
    *,
    cutoff: datetime,
    horizon_days: int = 28,
    active_within_days: int | None = 56,
    model: str = "auto",
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The contract's JSON of ``retention evaluate churn``.

    Trains on snapshots whose label windows end at or before ``cutoff`` and scores the customers active there.

    Raises
    ------
    BadInput
        Where the window after the cutoff is not over yet, or the horizon is longer than the history.
    TooLittleData
        Too few customers, or only one class.
    """
    _window_is_over(lake, cutoff, horizon_days)
    started = perf_counter()
    training = history(
        lake, cutoff=cutoff, horizon_days=horizon_days, active_within_days=active_within_days,
        progress=part(progress, 0, 2),
    )  # fmt: skip
    featured = perf_counter()
    return _judged(
        lake, training, cutoff, model=model, seed=seed, features_seconds=featured - started,
        progress=part(progress, 1, 2),
    )  # fmt: skip


def _judged(
    lake: Any, training: TrainingSet, cutoff: datetime, *, model: str, seed: int, features_seconds: float,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    started = perf_counter()
    trained = fit(training, model=model, seed=seed, progress=progress)
    fitted = perf_counter()
    test = take(
        lake, cutoff, horizon_days=training.horizon_days, active_within_days=training.active_within_days
    )
    labels = test.churned
    if labels is None or not len(labels) or not 0 < labels.sum() < len(labels):
        raise TooLittleData(
            f"Of the {len(test.frame)} customers active at {cutoff:%Y-%m-%d} all did the same in the "
            f"{training.horizon_days} days after it; there is nothing to measure. Choose another --cutoff or --horizon."
        )
    probability = trained.predict(test)
    scored = perf_counter()
    return {
        "customers": len(labels),
        "base_rate": float(labels.mean()),
        "metrics": metrics(labels, probability),
        "baselines": baselines(training, test),
        "model": trained.estimator,
        "features": list(trained.columns),
        "train_rows": trained.train_rows,
        "seconds": {"features": features_seconds, "train": fitted - started, "score": scored - fitted},
        "cutoff": cutoff.isoformat(),
        "horizon_days": training.horizon_days,
        "active_within_days": training.active_within_days,
        "rung": trained.rung,
        "calibration": trained.calibration,
        "reliability": reliability(labels, probability),
    }


def _window_is_over(lake: Any, cutoff: datetime, horizon_days: int) -> None:
    newest = lake.table("events").occurred_at.max().execute()
    if newest is None or newest != newest:
        raise TooLittleData(
            "There are no events yet; import them with `retention import events FILE --map MAP.toml`."
        )
    last, horizon = newest.to_pydatetime().replace(tzinfo=UTC), timedelta(days=horizon_days)
    if cutoff + horizon - last > timedelta(days=max(1.0, horizon_days / 10)):
        raise BadInput(
            f"The {horizon_days} days after {cutoff:%Y-%m-%d} are not over in the data, whose newest event is of "
            f"{last:%Y-%m-%d}; take a --cutoff of {last + timedelta(days=1) - horizon:%Y-%m-%d} or earlier."
        )
