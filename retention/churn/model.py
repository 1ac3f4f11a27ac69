"""Train, store and apply churn models.

Candidates are chosen and calibrated on rolling origins, then fitted on all snapshots. A model is
stored as a skops artefact.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED

import numpy as np
from sklearn.base import BaseEstimator

from retention.churn import calibration, estimators, private, text_gate, tuning
from retention.churn.evaluation import rolling, uncertainty
from retention.churn.lost_margin import derived_tiers
from retention.churn.model_selection import CandidateSet, select_candidates
from retention.churn.population import population
from retention.churn.snapshots import Snapshot
from retention.churn.training_set import TrainingSet, build_training_set
from retention.errors import BadInput, TooLittleData
from retention.features import catalogue
from retention.privacy import descent
from retention.progress import Progress, part, silent
from retention.text import gettext
from retention.window import DEFAULT, Window

if TYPE_CHECKING:
    from retention.lake import Lake

ALLOWED = frozenset(
    {
        "numpy.dtype",
        "retention.churn.calibration.Calibrated",
        "retention.churn.estimators.ClosedForm",
        "retention.churn.estimators.LogOdds",
        "retention.churn.estimators.bounded",
        "retention.churn.estimators.odds_first",
        "retention.churn.estimators.select_columns",
        "retention.churn.estimators.signed_log",
        "retention.churn.estimators.take_columns",
        "retention.churn.hazards.Survival",
        "retention.churn.private.public_scale",
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

BLOCK_ROWS = 16_384  # predicted at once; the members scale copies of them
_STORED_COMPARISON = "Chosen by log-loss"  # stored data: begins the comparison in old notes


@dataclass(frozen=True, slots=True)
class TrainedChurn:
    """A trained churn model.

    `version`: name in the registry; empty before it is saved.
    `comparison_note`: last part of ``rung``: the comparison of the candidates' losses. May be
    empty.
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
    comparison_note: str = ""

    @property
    def window(self) -> Window:
        """The definition of churn that the model was trained for."""
        return Window(self.horizon_days, self.active_within_days)

    @property
    def selection_note(self) -> str:
        """The model-selection note without the comparison of losses."""
        return self.rung.removesuffix(self.comparison_note).rstrip()

    @property
    def members(self) -> tuple[tuple[float, BaseEstimator], ...]:
        """Weights and fitted members of the blend before calibration.

        `estimators.churn_probability` gives a member's probabilities.
        """
        blend = (
            self.model.estimator if isinstance(self.model, calibration.Calibrated) else self.model
        )
        weights = blend.weights or [1 / len(blend.members)] * len(blend.members)
        return tuple(zip(weights, blend.members, strict=True))

    def predict(self, snapshot: Snapshot) -> np.ndarray:
        """Return P(churn) of each customer, (n,)."""
        return self.probability(snapshot.matrix(self.columns))

    def probability(self, X: np.ndarray) -> np.ndarray:
        """Return P(churn), (n,), between 5e-4 and 1 − 5e-4.

        `X`: (n, k) features in the order of ``columns``.
        """
        chances = [
            self.model.predict_proba(X[start : start + BLOCK_ROWS])[:, 1]
            for start in range(0, len(X), BLOCK_ROWS)
        ]
        return np.clip(np.concatenate([np.empty(0), *chances]), 5e-4, 1 - 5e-4)

    def to_bytes(self) -> bytes:
        """Return the model as a skops artefact without code."""
        import skops.io  # takes a second

        header = {
            key: value
            for key, value in asdict(_without_arrays(self)).items()
            if key not in ("model", "reference", "version")
        }
        header["cutoff"] = self.cutoff.isoformat()
        content = {"model": self.model, "reference": self.reference, "about": json.dumps(header)}
        return skops.io.dumps(content, compression=ZIP_DEFLATED, compresslevel=1)

    @classmethod
    def from_bytes(cls, content: bytes, *, version: str = "") -> "TrainedChurn":
        """Read an artefact that contains only types of a fixed list.

        Raises `BadInput`: if the artefact contains another type (it is then not loaded), or the
        model uses features that are no longer computed.
        """
        import skops.io  # takes a second

        foreign = set(skops.io.get_untrusted_types(data=content)) - ALLOWED
        if foreign:
            message = gettext(
                "The artefact of model {model} holds types that are not on the list "
                "({foreign}), so it was not loaded."
            ).format(model=version or "unnamed", foreign=", ".join(sorted(foreign)))
            raise BadInput(message, hint="retrain")
        stored = skops.io.loads(content, trusted=sorted(ALLOWED))
        header = json.loads(stored["about"])
        header["cutoff"] = datetime.fromisoformat(header["cutoff"])
        header["columns"] = tuple(header["columns"])
        header.setdefault("comparison_note", _stored_comparison(header["rung"]))
        catalogue.check_features(header["columns"], version)
        return cls(model=stored["model"], reference=stored["reference"], version=version, **header)


def _stored_comparison(rung: str) -> str:
    """Return the comparison in a stored note.

    Models trained before the field ``comparison_note`` existed have English notes.
    """
    before, _, _ = rung.partition(_STORED_COMPARISON)
    return rung[len(before) :]


def _without_arrays(trained: TrainedChurn) -> TrainedChurn:
    """Drop the parts that `asdict` would copy deeply."""
    return replace(trained, model=None, reference=np.empty(0))


def train(
    lake: "Lake",
    *,
    cutoff: datetime,
    window: Window = DEFAULT,
    model: str = "auto",
    customers: int | None = None,
) -> TrainedChurn:
    """Train a churn model on events before a cutoff.

    `cutoff`: timezone-aware. Features and label windows end at or before it.
    `model`: ``auto`` (model selection by the amount of data) or one of
    `retention.churn.estimators.ESTIMATORS`.
    `customers`: see `with_tiers`.
    """
    training = build_training_set(lake, cutoff=cutoff, window=window)
    return with_tiers(fit(training, model=model), lake, customers)


def with_tiers(trained: TrainedChurn, lake: "Lake", customers: int | None = None) -> TrainedChurn:
    """Derive the tiers from the customers at the cutoff, and the stated size of the list.

    Those of the newest label window are one horizon older, and risk may have changed since.
    """
    try:
        people = population(lake, trained.cutoff, trained.window)
    except TooLittleData:
        return trained
    tiers = derived_tiers(trained.predict(people), customers)
    return replace(trained, parameters={**trained.parameters, "tiers": tiers})


def fit(
    training: TrainingSet,
    *,
    model: str = "auto",
    seed: int = 0,
    tune: tuning.Budget | None = None,
    progress: Progress = silent,
) -> TrainedChurn:
    """Select, calibrate and fit a model on a training set."""
    if model == private.PRIVATE:
        return _fit_private(training, seed)
    training = text_gate.without_useless_texts(training)
    selection = select_candidates(training)
    X, y = training.stacked(training.columns)
    _require_both_classes(y, training)
    members = selection.members if model == "auto" else estimators.members_of(model)
    tuned: list[tuning.TuningResult] = []
    if tune is not None:
        tuned = tuning.tune(training, members, tune, seed=seed, progress=part(progress, 0, 2))
        settings = {origin.estimator: origin.settings for origin in tuned if origin.settings}
        training = replace(training, settings=settings)
        progress = part(progress, 1, 2)
    origins = rolling.out_of_time_predictions(
        training, members, seed=seed, progress=part(progress, 0, 2)
    )
    method = "shift" if training.has_season else "sigmoid"
    evaluated = [
        rolling.evaluate_candidate(name, origins, method=method)
        for name in (selection.candidates if model == "auto" else (model,))
        if origins
    ]
    judged = origins
    if evaluated:
        chosen = rolling.choose_candidate(evaluated)
    else:
        chosen, judged = _choose_unvalidated(
            training, selection, model, y, seed, part(progress, 0, 2)
        )
    lead = rolling.lead_of_plain(chosen, judged, method=method) if model == "auto" else None
    if lead is not None:
        chosen = rolling.EvaluatedCandidate(estimators.RFM, (estimators.RFM,), None, float("nan"))
    labels = [origin.labels for origin in origins]
    calibrated, method = calibration.fit_calibration(
        [chosen.probabilities(origin) for origin in origins], labels, has_season=training.has_season
    )
    calibrated.estimator = _fit_chosen(chosen, training, seed, part(progress, 1, 2))
    note, comparison = _selection_notes(
        selection, model, evaluated, _origins_text(training, origins), chosen
    )
    if lead is not None:
        comparison = f"{comparison} {_plain_note(lead)}".lstrip()
    return TrainedChurn(
        model=calibrated,
        estimator=chosen.name,
        columns=training.columns,
        reference=median_customer(X),
        cutoff=training.cutoff,
        horizon_days=training.horizon_days,
        active_within_days=training.active_within_days,
        rung=f"{note} {comparison}".rstrip(),
        train_rows=len(y),
        seed=seed,
        calibration=_calibration_note(training, method, origins) + _season_note(training),
        parameters=_parameters(training, y, evaluated, tuned),
        comparison_note=comparison,
    )


def _fit_private(training: TrainingSet, seed: int) -> TrainedChurn:
    """Fit with differential privacy; nothing that is stored is exact about the customers."""
    settings = training.settings.get(private.PRIVATE, {})
    epsilon = private.checked_epsilon(settings)
    member = private.fit(training.without_doubted(training.snapshots), epsilon)
    return TrainedChurn(
        model=estimators.LogOdds([member], [1.0]),
        estimator=private.PRIVATE,
        columns=private.COLUMNS,
        reference=private.TYPICAL,
        cutoff=training.cutoff,
        horizon_days=training.horizon_days,
        active_within_days=training.active_within_days,
        rung=gettext("Differentially private logistic regression."),
        train_rows=0,
        seed=seed,
        calibration=gettext("none: it would cost a part of the privacy budget"),
        parameters={
            "settings": {private.PRIVATE: dict(settings)},
            "privacy": {"epsilon": epsilon, "delta": descent.DELTA},
        },
    )


def _choose_unvalidated(
    training: TrainingSet,
    selection: CandidateSet,
    model: str,
    y: np.ndarray,
    seed: int,
    progress: Progress,
) -> tuple[rolling.EvaluatedCandidate, list[rolling.OriginPredictions]]:
    """Choose members without an earlier origin; also return predictions to judge them by.

    These are the members that are not worse than the closed forms on other customers of the newest
    snapshot, with equal weights; with very little data, the first candidate. Members err in
    different ways as customers age, so their mean errs less. The best member at a known moment
    says nothing about that. But a member below BG/NBD even there, which uses no labels, has
    learned nothing. Products of features rank worse as customers age
    (docs/data_scientist/calibration.md), and calendar models know no other year.
    """
    if model == "auto" and min(y.sum(), len(y) - y.sum()) >= calibration.MIN_CHURNERS:
        members = tuple(
            name
            for name in selection.members
            if name not in (estimators.PRODUCTS, estimators.HORIZONS, *estimators.CALENDAR)
        )
        predictions = rolling.cross_customer_predictions(
            training, members, seed=seed, progress=progress
        )
        judged = [] if predictions is None else [predictions]
        for each in judged:
            members = rolling.not_worse_than_closed_forms(members, each)
        return rolling.EvaluatedCandidate("stacked", members, None, float("nan")), judged
    name = selection.candidates[0] if model == "auto" else model
    return rolling.EvaluatedCandidate(name, estimators.members_of(name), None, float("nan")), []


def _fit_chosen(
    chosen: rolling.EvaluatedCandidate, training: TrainingSet, seed: int, progress: Progress
) -> estimators.LogOdds:
    """Fit the chosen members on all snapshots."""
    weights = chosen.weights or [1 / len(chosen.members)] * len(chosen.members)
    pairs = zip(chosen.members, weights, strict=True)
    weighted = [(name, weight) for name, weight in pairs if weight]
    names = [name for name, _ in weighted]
    members = rolling.fit_members(training, training.snapshots, names, seed=seed, progress=progress)
    return estimators.LogOdds(members, [weight for _, weight in weighted])


def _selection_notes(
    selection: CandidateSet,
    model: str,
    evaluated: Sequence[rolling.EvaluatedCandidate],
    origins: str,
    chosen: rolling.EvaluatedCandidate,
) -> tuple[str, str]:
    """Return the notes on candidates and losses."""
    if model != "auto":
        note = gettext("Chosen by name; by the data: {selection}").format(selection=selection.text)
        return note, ""
    if evaluated:
        return selection.text, _comparison_note(evaluated, origins, chosen)
    if chosen.name != "stacked":
        return selection.text, ""
    if len(chosen.members) > 1:
        note = gettext(
            "No window was over before the newest, which leaves nothing to compare: {members} "
            "have an equal say, for what is worse than BG/NBD even at a moment that it learned "
            "has none."
        )
    else:
        note = gettext(
            "No window was over before the newest, which leaves nothing to compare: {members} "
            "speaks alone, for what is worse than BG/NBD even at a moment that it learned has none."
        )
    return f"{selection.text} {note.format(members=', '.join(chosen.members))}", ""


def _comparison_note(
    evaluated: Sequence[rolling.EvaluatedCandidate],
    origins: str,
    chosen: rolling.EvaluatedCandidate,
) -> str:
    ranked = sorted(evaluated, key=lambda candidate: candidate.log_loss)
    losses = ", ".join(f"{candidate.name} {candidate.log_loss:.4f}" for candidate in ranked)
    text = gettext("Chosen by log-loss on {origins}: {losses}.")
    note = text.format(origins=origins, losses=losses)
    if chosen not in evaluated or chosen is ranked[0]:
        return note
    tie = gettext("{best} alone is not better by {tolerance:.0f}%, so {chosen} it is.").format(
        best=ranked[0].name, tolerance=100 * rolling.BLEND_TOLERANCE, chosen=chosen.name
    )
    return f"{note} {tie}"


def _plain_note(lead: uncertainty.Interval) -> str:
    return gettext(
        "Plain logistic regression on RFM is better beyond chance (log-loss {difference}), so "
        "{plain} it is."
    ).format(difference=lead, plain=estimators.RFM)


def _calibration_note(
    training: TrainingSet, method: str, origins: Sequence[rolling.OriginPredictions]
) -> str:
    if not origins:
        return gettext("none: there is no later snapshot to learn it on")
    customers = sum(len(origin.labels) for origin in origins)
    text = gettext("{method}, on {customers:,} customers at {origins}")
    return text.format(method=method, customers=customers, origins=_origins_text(training, origins))


def _season_note(training: TrainingSet) -> str:
    if not training.has_season:
        return gettext("; no season is known before 13 months")
    percent = 100 * np.expm1(training.swing)
    if percent >= 0:
        note = gettext(
            "; moved to season and trend: repeat orders come "
            "{percent:.0f}% faster in the {horizon_days} days ahead than in those before"
        )
    else:
        note = gettext(
            "; moved to season and trend: repeat orders come "
            "{percent:.0f}% slower in the {horizon_days} days ahead than in those before"
        )
    return note.format(percent=abs(percent), horizon_days=training.horizon_days)


def _origins_text(training: TrainingSet, origins: Sequence[rolling.OriginPredictions]) -> str:
    dates = ", ".join(training.day(origin.snapshot.cutoff) for origin in origins)
    if len(origins) > 1:
        text = gettext("{number} rolling origins ({dates})")
        return text.format(number=len(origins), dates=dates)
    return gettext("the origin {date}").format(date=dates)


def _parameters(
    training: TrainingSet,
    y: np.ndarray,
    evaluated: Sequence[rolling.EvaluatedCandidate],
    tuned: Sequence[tuning.TuningResult],
) -> dict[str, Any]:
    return {
        "settings": {name: dict(settings) for name, settings in training.settings.items()},
        "tuning": {item.estimator: item.as_dict() for item in tuned},
        "snapshots": len(training.snapshots),
        "train_churn_rate": round(float(y.mean()), 6),
        "candidates": {item.name: round(item.log_loss, 6) for item in evaluated},
        "weights": {
            item.name: {
                name: round(weight, 4)
                for name, weight in zip(item.members, item.weights, strict=True)
            }
            for item in evaluated
            if item.weights
        },
    }


def median_customer(X: np.ndarray) -> np.ndarray:
    """Return the median customer, (k,); 0 for features without values."""
    empty = np.isnan(X).all(axis=0)
    return np.where(empty, 0.0, np.nanmedian(np.where(empty, 0.0, X), axis=0))


def _require_both_classes(y: np.ndarray, training: TrainingSet) -> None:
    churners = int(y.sum())
    if 0 < churners < len(y):
        return
    if churners:
        sentence = gettext(
            "Every customer in the training data churned within {horizon_days} days, so there is "
            "nothing to tell apart; try a longer --horizon."
        )
    else:
        sentence = gettext(
            "Every customer in the training data came back within {horizon_days} days, so there "
            "is nothing to tell apart; try a shorter --horizon."
        )
    raise TooLittleData(sentence.format(horizon_days=training.horizon_days))
