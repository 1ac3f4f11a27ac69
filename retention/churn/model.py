"""A trained churn model: fitted on earlier snapshots, calibrated on a later one, kept as a skops artefact."""

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any
from zipfile import ZIP_DEFLATED

import numpy as np
import skops.io
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from retention.churn import estimators
from retention.churn.ladder import stand
from retention.churn.snapshots import Snapshot, TrainingSet, history
from retention.errors import TooLittleData
from retention.progress import Progress, part, silent

ISOTONIC_FROM = (
    1000  # churners in the calibration snapshot; below, two parameters are all that can be learned
)
ALLOWED = frozenset({
    "numpy.dtype",
    "retention.churn.estimators.ClosedForm",
    "retention.churn.estimators.LogOdds",
    "retention.churn.estimators.signed_log",
    "sklearn._loss._loss.CyHalfBinomialLoss",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainedChurn:
    """What `train` gives and the registry keeps.

    ``reference`` is the median customer of the training data, (k,): reasons are told against them.
    ``version`` is the registry's name for it; empty before it is saved.
    """

    model: BaseEstimator
    estimator: str
    columns: tuple[str, ...]
    reference: np.ndarray
    cutoff: datetime
    horizon_days: int
    active_within_days: int | None
    rung: str
    train_rows: int
    seed: int
    calibration: str
    version: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    def predict(self, snapshot: Snapshot) -> np.ndarray:
        """P(churn) of each customer, (n,)."""
        return self.probability(snapshot.matrix(self.columns))

    def probability(self, X: np.ndarray) -> np.ndarray:
        """P(churn) of (n, k) features in the order of ``columns``; never quite 0 or 1."""
        if not len(X):
            return np.empty(0)
        return np.clip(self.model.predict_proba(X)[:, 1], 5e-4, 1 - 5e-4)

    def to_bytes(self) -> bytes:
        """A skops artefact; nothing in it is code."""
        about = {
            key: value
            for key, value in asdict(_shallow(self)).items()
            if key not in ("model", "reference", "version")
        }
        about["cutoff"] = self.cutoff.isoformat()
        held = {"model": self.model, "reference": self.reference, "about": json.dumps(about)}
        return skops.io.dumps(held, compression=ZIP_DEFLATED, compresslevel=1)

    @classmethod
    def from_bytes(cls, content: bytes, *, version: str = "") -> "TrainedChurn":
        """Read an artefact, of our own and scikit-learn's types on a fixed list only.

        Raises
        ------
        ValueError
            Where the artefact holds any other type; nothing of it was loaded.
        """
        foreign = set(skops.io.get_untrusted_types(data=content)) - ALLOWED
        if foreign:
            raise ValueError(
                f"the artefact holds types that are not on the list: {', '.join(sorted(foreign))}"
            )
        held = skops.io.loads(content, trusted=sorted(ALLOWED))
        about = json.loads(held["about"])
        about["cutoff"] = datetime.fromisoformat(about["cutoff"])
        about["columns"] = tuple(about["columns"])
        return cls(model=held["model"], reference=held["reference"], version=version, **about)


def _shallow(trained: TrainedChurn) -> TrainedChurn:
    """Without the parts that `asdict` would copy deeply."""
    return replace(trained, model=None, reference=np.empty(0))


def train(
    lake: Any,
    *,
    cutoff: datetime,
    horizon_days: int = 28,
    active_within_days: int | None = 56,
    model: str = "auto",
    seed: int = 0,
    progress: Progress = silent,
) -> TrainedChurn:
    """Learn from everything before ``cutoff``.

    Parameters
    ----------
    lake : Lake
    cutoff : datetime
        Aware. Features and label windows both end at or before it.
    model : str
        ``auto`` (by the ladder) or one of `retention.churn.estimators.ESTIMATORS`.

    Raises
    ------
    BadInput
        A horizon longer than the history.
    TooLittleData
        Too few customers, or only one class to learn from.
    """
    training = history(
        lake, cutoff=cutoff, horizon_days=horizon_days, active_within_days=active_within_days,
        progress=part(progress, 0, 2),
    )  # fmt: skip
    return fit(training, model=model, seed=seed, progress=part(progress, 1, 2))


def fit(
    training: TrainingSet, *, model: str = "auto", seed: int = 0, progress: Progress = silent
) -> TrainedChurn:
    """Fit and calibrate on snapshots already taken; see `train`."""
    rung = stand(training)
    name = rung.estimator if model == "auto" else model
    X, y = training.stacked(training.columns)
    _two_classes(y, training)
    fitted: BaseEstimator
    if name == estimators.CLOSED_FORM:
        fitted = estimators.ClosedForm(training.columns.index("bg_no_purchase")).fit(X, y)
        fitted = estimators.LogOdds([fitted])
    else:
        fitted = estimators.fit(name, X, y, seed=seed, progress=progress)
    progress(1, 1, "Calibrating")
    calibrated, calibration = _calibrated(fitted, training)
    text = rung.text if model == "auto" else f"Chosen by name; by the data: {rung.text}"
    return TrainedChurn(
        model=calibrated, estimator=name, columns=training.columns, reference=reference(X),
        cutoff=training.cutoff, horizon_days=training.horizon_days,
        active_within_days=training.active_within_days, rung=text, train_rows=len(y), seed=seed,
        calibration=calibration,
        parameters={"snapshots": len(training.fit), "train_churn_rate": round(float(y.mean()), 6)},
    )  # fmt: skip


def reference(X: np.ndarray) -> np.ndarray:
    """The median customer, (k,); 0 for a feature nobody has."""
    empty = np.isnan(X).all(axis=0)
    return np.where(empty, 0.0, np.nanmedian(np.where(empty, 0.0, X), axis=0))


def _calibrated(fitted: BaseEstimator, training: TrainingSet) -> tuple[BaseEstimator, str]:
    """The fitted model, frozen, with a calibration learned on the newest snapshot, which it has not seen."""
    snapshot = training.calibrate
    if snapshot is None or snapshot.churned is None:
        return fitted, "none: there is no later snapshot"
    churners = int(snapshot.churned.sum())
    if not 20 <= churners <= len(snapshot.churned) - 20:
        return fitted, f"none: {churners} of {len(snapshot.churned)} churned in the later snapshot"
    method = "isotonic" if churners >= ISOTONIC_FROM else "sigmoid"
    calibrated = CalibratedClassifierCV(FrozenEstimator(fitted), method=method)
    calibrated.fit(snapshot.matrix(training.columns), snapshot.churned)
    return calibrated, f"{method}, on {len(snapshot.churned)} customers as of {snapshot.cutoff:%Y-%m-%d}"


def _two_classes(y: np.ndarray, training: TrainingSet) -> None:
    if 0 < y.sum() < len(y):
        return
    every = "churned" if y.sum() else "came back"
    raise TooLittleData(
        f"Every customer in the training data {every} within {training.horizon_days} days, so there is nothing to "
        f"tell apart; try a {'longer' if y.sum() else 'shorter'} --horizon."
    )
