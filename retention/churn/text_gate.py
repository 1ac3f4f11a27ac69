"""Use what customers write only where it predicts better who leaves.

A model with features that say nothing is a little worse, so they must prove themselves: on rolling
origins, the plain logistic regression with them must be better than without them.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retention.churn.estimators import Examples, churn_probability, fit_member
from retention.churn.evaluation.uncertainty import log_losses
from retention.churn.snapshots import Snapshot
from retention.churn.training_set import TrainingSet, stack_rows
from retention.features import FEATURES

TEXT_FEATURES = frozenset(each.name for each in FEATURES if each.source == "texts")
MAX_ORIGINS = 3
MIN_Z = 1.64  # of the mean gain per customer: 5% of useless features would pass


def without_useless_texts(training: TrainingSet) -> TrainingSet:
    """Drop the features of texts from a training set if they do not help."""
    plain = tuple(name for name in training.columns if name not in TEXT_FEATURES)
    if plain == training.columns or gain_z(training, plain) >= MIN_Z:
        return training
    return replace(training, columns=plain, fits={})


def gain_z(training: TrainingSet, plain: Sequence[str]) -> float:
    """Return the mean fall of the log-loss by texts, in standard errors; 0 without an origin.

    A customer counts once, with the mean over the origins.
    """
    ids, gains = [], []
    for origin in training.snapshots[:MAX_ORIGINS]:
        earlier = training.before(origin.cutoff)
        if earlier and 0 < origin.labels.sum() < len(origin.labels):
            ids.append(origin.hashed)
            gains.append(
                _losses(earlier, origin, plain) - _losses(earlier, origin, training.columns)
            )
    if not ids:
        return 0.0
    _, customer = np.unique(np.concatenate(ids), return_inverse=True)
    mean = np.bincount(customer, np.concatenate(gains)) / np.bincount(customer)
    error = mean.std(ddof=1) / np.sqrt(len(mean)) if len(mean) > 1 else 0.0
    return float(mean.mean() / error) if error > 0 else 0.0


def _losses(earlier: Sequence[Snapshot], origin: Snapshot, columns: Sequence[str]) -> np.ndarray:
    X, y = stack_rows(earlier, columns)
    if y.min() == y.max():
        return np.zeros(len(origin.labels))
    member = fit_member("logistic", Examples(X, y, columns=tuple(columns)))
    return log_losses(origin.labels, churn_probability(member, origin.matrix(columns)))
