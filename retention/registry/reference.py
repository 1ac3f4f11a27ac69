"""What a model's population looked like, kept beside it: later populations are held against it."""

from typing import Any

import numpy as np

from retention.churn import drift
from retention.churn.model import TrainedChurn
from retention.churn.snapshots import TrainingSet


def reference(training: TrainingSet, trained: TrainedChurn) -> dict[str, Any]:
    """Profiles (`retention.churn.drift.profile`) of each feature over the training window, and of the newest scores.

    Returns
    -------
    dict
        ``features``: name → profile; ``scores``: profile of the probabilities given to the newest snapshot.
    """
    # the season's move with the calendar, not with the customers
    columns = [column for column in trained.columns if not column.startswith("season_")]
    X = np.concatenate([snapshot.matrix(columns) for snapshot in training.snapshots])
    features = {name: drift.profile(X[:, place]) for place, name in enumerate(columns)}
    return {
        "features": features,
        "scores": drift.profile(np.asarray(trained.predict(training.newest))),
    }
