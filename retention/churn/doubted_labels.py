"""Leave out training labels that people called wrong."""

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from retention.churn.snapshots import Snapshot, TrainingSet


def without(training: TrainingSet, marked: Collection[tuple[str, datetime]]) -> TrainingSet:
    """The training set without doubted labels: those whose window holds the moment that was called wrong.

    Choosing, calibration and judging keep every customer: what is judged must not be chosen by opinion.
    """
    if not marked:
        return training
    doubted = {
        one.cutoff: _doubted(one, marked, training.horizon_days) for one in training.snapshots
    }
    return replace(
        training, doubted={moment: rows for moment, rows in doubted.items() if rows.any()}, fits={}
    )


def _doubted(
    snapshot: Snapshot, marked: Collection[tuple[str, datetime]], horizon_days: int
) -> np.ndarray:
    """(n,) whether a customer's label at this snapshot was called wrong."""
    end = snapshot.cutoff + timedelta(days=horizon_days)
    gone = {customer for customer, as_of in marked if snapshot.cutoff <= as_of < end}
    return snapshot.frame.customer_id.isin(gone).to_numpy()
