"""A trained churn model: chosen and calibrated on rolling origins, fitted on all snapshots, kept as a skops artefact."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any
from zipfile import ZIP_DEFLATED

import numpy as np
import skops.io
from sklearn.base import BaseEstimator

from retention.churn import calibration, estimators, rolling, tuning
from retention.churn.model_selection import CandidateSet, select_candidates
from retention.churn.snapshots import Snapshot, TrainingSet, build_training_set
from retention.errors import BadInput, TooLittleData
from retention.features import catalogue
from retention.progress import Progress, part, silent
from retention.text import gettext

ALLOWED = frozenset(
    {
        "numpy.dtype",
        "retention.churn.calibration.Calibrated",
        "retention.churn.estimators.ClosedForm",
        "retention.churn.estimators.LogOdds",
        "retention.churn.estimators.bounded",
        "retention.churn.estimators.odds_first",
        "retention.churn.estimators.signed_log",
        "retention.churn.estimators.take_columns",
        "retention.churn.hazards.Survival",
        "retention.churn.quadratic.Quadratic",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
    }
)


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

    @property
    def members(self) -> tuple[tuple[float, BaseEstimator], ...]:
        """The fitted members and their weights, whose mean is calibrated; `estimators.churn_probability` reads one of them."""
        held = (
            self.model.estimator if isinstance(self.model, calibration.Calibrated) else self.model
        )
        weights = held.weights or [1 / len(held.members)] * len(held.members)
        return tuple(zip(weights, held.members, strict=True))

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
            for key, value in asdict(_without_arrays(self)).items()
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
        BadInput
            Where the artefact holds any other type (nothing of it was loaded), or asks for features that are no
            longer computed.
        """
        foreign = set(skops.io.get_untrusted_types(data=content)) - ALLOWED
        if foreign:
            raise BadInput(
                gettext(
                    "The artefact of model {value} holds types that are not on the list "
                    "({foreign}), so it was not loaded; run `/retention retrain`."
                ).format(value=version or "unnamed", foreign=", ".join(sorted(foreign)))
            )
        held = skops.io.loads(content, trusted=sorted(ALLOWED))
        about = json.loads(held["about"])
        about["cutoff"] = datetime.fromisoformat(about["cutoff"])
        about["columns"] = tuple(about["columns"])
        catalogue.check_features(about["columns"], version)
        return cls(model=held["model"], reference=held["reference"], version=version, **about)


def _without_arrays(trained: TrainedChurn) -> TrainedChurn:
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
    tune: tuning.Budget | None = None,
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
    tune : tuning.Budget, optional
        How long to search the estimators' settings before; without it they are their own.

    Raises
    ------
    BadInput
        A horizon longer than the history.
    TooLittleData
        Too few customers, or only one class to learn from.
    """
    training = build_training_set(
        lake,
        cutoff=cutoff,
        horizon_days=horizon_days,
        active_within_days=active_within_days,
        progress=part(progress, 0, 2),
    )
    return fit(training, model=model, seed=seed, tune=tune, progress=part(progress, 1, 2))


def fit(
    training: TrainingSet,
    *,
    model: str = "auto",
    seed: int = 0,
    tune: tuning.Budget | None = None,
    progress: Progress = silent,
) -> TrainedChurn:
    """Choose, calibrate and fit on snapshots already taken; see `train`. ``tune`` searches the members' settings first."""
    rung = select_candidates(training)
    X, y = training.stacked(training.columns)
    _require_both_classes(y, training)
    members = rung.members if model == "auto" else estimators.members_of(model)
    searched: list[tuning.TuningResult] = []
    if tune is not None:
        searched = tuning.tune(training, members, tune, seed=seed, progress=part(progress, 0, 2))
        training = replace(
            training, settings={one.estimator: one.settings for one in searched if one.settings}
        )
        progress = part(progress, 1, 2)
    told = rolling.out_of_time_predictions(
        training, members, seed=seed, progress=part(progress, 0, 2)
    )
    choices = [
        rolling.evaluate_candidate(name, told)
        for name in (rung.candidates if model == "auto" else (model,))
        if told
    ]
    if choices:
        chosen = rolling.choose_candidate(choices)
    else:
        chosen = _choose_unvalidated(training, rung, model, y, seed, part(progress, 0, 2))
    labels = [one.labels for one in told]
    calibrated, method = calibration.fit_calibration([chosen.mean(one) for one in told], labels)
    calibrated.estimator = _fit_chosen(chosen, training, seed, part(progress, 1, 2))
    return TrainedChurn(
        model=calibrated,
        estimator=chosen.name,
        columns=training.columns,
        reference=median_customer(X),
        cutoff=training.cutoff,
        horizon_days=training.horizon_days,
        active_within_days=training.active_within_days,
        rung=_why(rung, model, choices, _origins_text(training, told), chosen),
        train_rows=len(y),
        seed=seed,
        calibration=_calibration_note(training, method, told) + _season_note(training),
        parameters=_parameters(training, y, choices, searched),
    )


def _choose_unvalidated(
    training: TrainingSet,
    rung: CandidateSet,
    model: str,
    y: np.ndarray,
    seed: int,
    progress: Progress,
) -> rolling.EvaluatedCandidate:
    """Where nothing can be judged: who is not worse than a closed form, with an equal say; the rung's first where hardly anything was learned.

    They err in different ways when customers age, and their mean less than any of them; who does best at a moment that was
    learned says nothing of that. But who even there knows less than BG/NBD, which has learned from nobody's return, has found
    nothing. Products of features rank worse when customers age (docs/accuracy.md).
    """
    if model == "auto" and min(y.sum(), len(y) - y.sum()) >= calibration.MIN_CHURNERS:
        members = tuple(
            name for name in rung.members if name not in (estimators.PRODUCTS, estimators.HORIZONS)
        )
        flattered = rolling.cross_customer_predictions(
            training, members, seed=seed, progress=progress
        )
        kept = (
            members
            if flattered is None
            else rolling.not_worse_than_closed_forms(members, flattered)
        )
        return rolling.EvaluatedCandidate("stacked", kept, None, float("nan"))
    name = rung.candidates[0] if model == "auto" else model
    return rolling.EvaluatedCandidate(name, estimators.members_of(name), None, float("nan"))


def _fit_chosen(
    chosen: rolling.EvaluatedCandidate, training: TrainingSet, seed: int, progress: Progress
) -> estimators.LogOdds:
    """The chosen members, fitted on everything."""
    weights = chosen.weights or [1 / len(chosen.members)] * len(chosen.members)
    used = [(name, weight) for name, weight in zip(chosen.members, weights, strict=True) if weight]
    members = []
    for number, (name, _) in enumerate(used):
        inner = part(progress, number, len(used))
        members.append(
            rolling.fit_cached(training, training.snapshots, name, seed=seed, progress=inner)
        )
    return estimators.LogOdds(members, [weight for _, weight in used])


def _why(
    rung: CandidateSet,
    model: str,
    choices: Sequence[rolling.EvaluatedCandidate],
    origins: str,
    chosen: rolling.EvaluatedCandidate,
) -> str:
    """On which rung the data stands, and why this estimator."""
    if model != "auto":
        return f"Chosen by name; by the data: {rung.text}"
    if not choices:
        say = "have an equal say" if len(chosen.members) > 1 else "speaks alone"
        equal = (
            f" No window was over before the newest, which leaves nothing to compare: {', '.join(chosen.members)} {say}, "
            "for what is worse than BG/NBD even at a moment that it learned has none."
        )
        return rung.text + (equal if chosen.name == "stacked" else "")
    ranked = sorted(choices, key=lambda one: one.log_loss)
    said = ", ".join(f"{one.name} {one.log_loss:.4f}" for one in ranked)
    tie = (
        ""
        if chosen is ranked[0]
        else f" {ranked[0].name} alone is not better by {100 * rolling.BLEND_TOLERANCE:.0f} %, so {chosen.name} it is."
    )
    return f"{rung.text} Chosen by log-loss on {origins}: {said}.{tie}"


def _calibration_note(
    training: TrainingSet, method: str, told: Sequence[rolling.OriginPredictions]
) -> str:
    if not told:
        return "none: there is no later snapshot to learn it on"
    customers = sum(len(one.labels) for one in told)
    return f"{method}, on {customers:,} customers at {_origins_text(training, told)}"


def _season_note(training: TrainingSet) -> str:
    """How the season ahead moves the base rate."""
    if not training.has_season:
        return "; no season is known before 13 months"
    percent = 100 * np.expm1(training.swing)
    return (
        f"; moved to the season: by last year's and the trend, repeat orders come {abs(percent):.0f} % "
        f"{'faster' if percent >= 0 else 'slower'} in the {training.horizon_days} days ahead than in those before"
    )


def _origins_text(training: TrainingSet, told: Sequence[rolling.OriginPredictions]) -> str:
    dates = [training.day(one.snapshot.cutoff) for one in told]
    return (
        f"{len(told)} rolling origins ({', '.join(dates)})"
        if len(told) > 1
        else f"the origin {''.join(dates)}"
    )


def _parameters(
    training: TrainingSet,
    y: np.ndarray,
    choices: Sequence[rolling.EvaluatedCandidate],
    searched: Sequence[tuning.TuningResult],
) -> dict[str, Any]:
    return {
        "settings": {name: dict(settings) for name, settings in training.settings.items()},
        "tuning": {one.estimator: one.as_dict() for one in searched},
        "snapshots": len(training.snapshots),
        "train_churn_rate": round(float(y.mean()), 6),
        "candidates": {one.name: round(one.log_loss, 6) for one in choices},
        "weights": {
            one.name: {
                name: round(weight, 4)
                for name, weight in zip(one.members, one.weights, strict=True)
            }
            for one in choices
            if one.weights
        },
    }


def median_customer(X: np.ndarray) -> np.ndarray:
    """The median customer, (k,); 0 for a feature nobody has."""
    empty = np.isnan(X).all(axis=0)
    return np.where(empty, 0.0, np.nanmedian(np.where(empty, 0.0, X), axis=0))


def _require_both_classes(y: np.ndarray, training: TrainingSet) -> None:
    if 0 < y.sum() < len(y):
        return
    every = "churned" if y.sum() else "came back"
    raise TooLittleData(
        gettext(
            "Every customer in the training data {every} within {horizon_days} days, so "
            "there is nothing to tell apart; try a {value} --horizon."
        ).format(
            every=every,
            horizon_days=training.horizon_days,
            value="longer" if y.sum() else "shorter",
        )
    )
