"""Compare the newest matured predictions with their outcomes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from retention.churn.evaluation.classification_metrics import metrics
from retention.churn.evaluation.evaluate import baseline_metrics
from retention.churn.evaluation.uncertainty import Interval, log_losses, paired_interval
from retention.churn.model import TrainedChurn
from retention.churn.snapshots import Snapshot, take_baseline_snapshot, take_snapshot
from retention.churn.training_set import TrainingSet
from retention.db import Transaction
from retention.db.tables import Cohort, ModelVersion, Run

if TYPE_CHECKING:
    from retention.lake import Lake

RECOMPUTED = "recomputed"
MIN_PER_CLASS = 20  # fewer churned or retained customers say nothing


@dataclass(frozen=True, slots=True)
class Outcome:
    """Matured predictions of one version.

    ``source`` is the run of a sweep, or `RECOMPUTED` if there was no sweep and the model scored
    that past cutoff now. ``log_loss`` is the mean with its 95% interval by customer.
    """

    version: str
    source: str
    as_of: datetime
    customers: int
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]]
    log_loss: Interval


def matured_outcome(
    lake: "Lake", session: Transaction, row: ModelVersion, trained: TrainedChurn, at: datetime
) -> Outcome | None:
    """Evaluate the newest predictions with a finished horizon.

    The horizon ended by ``at``.

    Its own sweeps come first. Without one, an older model scores the cutoff one horizon ago.
    Otherwise the newest sweep of an earlier version counts. None if nothing has matured.
    """
    horizon = timedelta(days=row.horizon_days)
    swept = _sweeps(session, row, at - horizon)
    own = next((candidate for candidate in swept if candidate.model_version == row.version), None)
    if own is None and row.cutoff <= at - horizon:
        test = take_snapshot(lake, at - horizon, row.window)
        return _outcome(lake, row.version, RECOMPUTED, test, trained.predict(test), row)
    chosen = own or next(iter(swept), None)
    if chosen is None:
        return None
    test = take_baseline_snapshot(lake, chosen.as_of, row.window)
    predicted = lake.scores(chosen.run_id).select("customer_id", "churn_probability").execute()
    predicted = predicted.set_index("customer_id")["churn_probability"].reindex(
        test.frame["customer_id"]
    )
    is_scored = predicted.notna().to_numpy()
    return _outcome(
        lake,
        chosen.model_version,
        chosen.run_id,
        test.rows(is_scored),
        predicted.to_numpy(dtype=float)[is_scored],
        row,
    )


def _sweeps(session: Transaction, row: ModelVersion, before: datetime) -> Sequence[Any]:
    """Return published sweeps, newest first. Their models have the same churn definition."""
    query = (
        select(Cohort.run_id, Cohort.as_of, Cohort.model_version)
        .join(Run, Run.run_id == Cohort.run_id)
        .join(ModelVersion, ModelVersion.version == Cohort.model_version)
        .where(
            Cohort.team_id == session.settings.team_id,
            Cohort.as_of <= before,
            Cohort.audience.is_(None),
            ModelVersion.kind == "churn",
            ModelVersion.horizon_days == row.horizon_days,
            ModelVersion.active_within_days.is_(None)
            if row.active_within_days is None
            else ModelVersion.active_within_days == row.active_within_days,
        )
        .order_by(Cohort.as_of.desc(), Cohort.created_at.desc())
    )
    return session.execute(query).all()


def _outcome(
    lake: "Lake",
    version: str,
    source: str,
    test: Snapshot,
    predicted: np.ndarray,
    row: ModelVersion,
) -> Outcome | None:
    churned = test.churned
    if churned is None or not MIN_PER_CLASS <= churned.sum() <= len(churned) - MIN_PER_CLASS:
        return None
    loss = paired_interval(log_losses(churned, predicted), test.frame["customer_id"].to_numpy())
    return Outcome(
        version,
        source,
        test.cutoff,
        len(churned),
        metrics(churned, predicted),
        _baselines(lake, test, row),
        loss,
    )


def _baselines(lake: "Lake", test: Snapshot, row: ModelVersion) -> dict[str, dict[str, float]]:
    """Return the baselines, trained one horizon before these predictions."""
    before = test.cutoff - timedelta(days=row.horizon_days)
    earlier = take_baseline_snapshot(lake, before, row.window)
    if earlier.churned is None or not 0 < earlier.churned.sum() < len(earlier.churned):
        return {}
    training = TrainingSet(test.cutoff, *row.window, 0.0, (earlier,), ())
    return baseline_metrics(training, test)
