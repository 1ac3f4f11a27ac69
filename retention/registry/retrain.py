"""Retrain models and decide on their promotion.

Models are evaluated on the newest weeks with known outcomes.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from retention.churn import private, targets
from retention.churn.drift import reference_profiles
from retention.churn.evaluation.segments import customer_attributes
from retention.churn.model import TrainedChurn, fit, with_tiers
from retention.churn.training_set import TrainingSet, build_training_set, exclude_doubted_labels
from retention.churn.tuning import Budget
from retention.db.tables import ModelVersion
from retention.errors import Refused
from retention.progress import Progress, part
from retention.registry.model_cache import churn_model, recommender
from retention.registry.store import save
from retention.risk.policy import load_policy
from retention.settings import Settings
from retention.text import gettext
from retention.window import Window

if TYPE_CHECKING:
    from retention.lake import Lake
    from retention.recommend import TrainedRecommender
    from retention.registry.backtest import BacktestResult

SEED = 0


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """A new model version, not yet part of a session.

    `figures`: further fields of `as_dict`.
    """

    row: ModelVersion
    promote: bool
    why: str
    figures: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for job results and templates."""
        row = self.row
        return {
            "kind": row.kind,
            "version": row.version,
            "estimator": row.estimator,
            "rung": row.rung,
            "selection_note": row.metrics.get("selection_note") or row.rung,
            "cutoff": row.cutoff.isoformat(),
            "promoted": self.promote,
            "why": self.why,
            **self.figures,
        }


@dataclass(frozen=True, slots=True)
class RetrainRequest:
    """Parameters of a training run.

    `doubted`: labels to exclude, see `retention.feedback`.
    `heard`: responses to recommendations, see `retention.recommend.training.train`.
    `tune_fits`: limit in fits. Without both limits nothing is tuned.
    `epsilon`: privacy loss of a private churn model.
    """

    cutoff: datetime
    window: Window
    model: str
    created_by: str
    job_id: str | None
    doubted: tuple[tuple[str, datetime], ...] = ()
    heard: Any = None
    tune_seconds: float | None = None
    tune_fits: int | None = None
    epsilon: float | None = None


def churn(
    settings: Settings,
    lake: "Lake",
    champion: ModelVersion | None,
    request: RetrainRequest,
    progress: Progress,
) -> RetrainResult:
    """Train a churn model and backtest its recipe.

    Snapshots are taken once. Each is training data of the model and, with those one horizon
    earlier, an origin of the backtest (`retention.registry.gate`).

    Raises `BadInput, TooLittleData`: see `retention.churn.training_set.build_training_set`.
    """
    from retention.registry.backtest import backtest, price_of_privacy

    training = build_training_set(
        lake, cutoff=request.cutoff, window=request.window, progress=part(progress, 0, 3)
    )
    undoubted = exclude_doubted_labels(training, request.doubted)
    tunes = request.tune_seconds or request.tune_fits
    budget = Budget(request.tune_seconds, request.tune_fits) if tunes else None
    model, is_private = request.model, request.model == private.PRIVATE
    if is_private:
        own = {private.PRIVATE: {"epsilon": request.epsilon}}
        undoubted, budget = replace(undoubted, settings=own), None
    trained = fit(undoubted, model=model, seed=SEED, tune=budget, progress=part(progress, 1, 3))
    if not is_private:  # tiers and purchase intent are exact about the customers
        trained = with_tiers(trained, lake, load_policy(settings).list.customers)
        progress(2, 3, gettext("Learning purchase intent"))
        intent = targets.fit_intent(lake, training, trained.columns)
        trained = replace(trained, parameters={**trained.parameters, targets.PARAMETER: intent})
    champion_model = _load_champion(churn_model, settings, champion)
    result = backtest(
        training,
        trained,
        champion_model,
        is_unreadable=champion is not None and champion_model is None,
        progress=part(progress, 2, 3),
    )
    progress(1, 1, gettext("Saving the model"))
    privacy = None
    if is_private:
        privacy = {**trained.parameters["privacy"], **price_of_privacy(training, result)}
    return judged(settings, lake, request, training, trained, result, privacy)


def judged(
    settings: Settings,
    lake: "Lake",
    request: RetrainRequest,
    training: TrainingSet,
    trained: TrainedChurn,
    result: "BacktestResult",
    privacy: dict[str, Any] | None = None,
) -> RetrainResult:
    """Save a churn model with the figures of its backtest, and with the price of its privacy."""
    figures = result.as_dict()
    learned = {"calibration": trained.calibration, "train_rows": trained.train_rows}
    row = _row("churn", trained, lake, request)
    row.active_within_days = request.window.active_within_days
    stored = {name: one for name, one in trained.parameters.items() if name != targets.PARAMETER}
    row.parameters, row.features = {**stored, **learned}, list(trained.columns)
    row.metrics = {
        **(figures["metrics"] or {}),
        **figures,
        "selection_note": trained.selection_note,
        "reference": reference_profiles(training, trained),
        "segments": result.by_segment(customer_attributes(lake)),
    }
    if privacy is not None:
        note = _price_note(privacy)
        row.rung, row.metrics = note, {**row.metrics, "privacy": privacy, "selection_note": note}
    save(settings, row, trained.to_bytes())
    summary = {key: figures[key] for key in ("metrics", "baselines", "base_rate", "customers")}
    summary |= {"checks": [asdict(check) for check in result.checks], **learned}
    return RetrainResult(row, result.promote, result.why, summary)


def privacy_note(privacy: dict[str, Any]) -> str:
    """Return a sentence on the privacy loss of a model."""
    text = gettext("Differentially private for each customer: ε = {epsilon:g}, δ = {delta:g}.")
    return text.format(**privacy)


def _price_note(privacy: dict[str, Any]) -> str:
    note = privacy_note(privacy)
    if privacy["log_loss"] is None:
        return note
    price = gettext("Log-loss {log_loss:.4f}; the same model without noise {plain_log_loss:.4f}.")
    return f"{note} {price.format(**privacy)}"


def _row(
    kind: str, trained: "TrainedChurn | TrainedRecommender", lake: "Lake", request: RetrainRequest
) -> ModelVersion:
    """Return the row of a model without what only its kind has."""
    return ModelVersion(
        kind=kind,
        estimator=trained.estimator,
        rung=trained.rung,
        seed=trained.seed,
        cutoff=request.cutoff,
        horizon_days=request.window.horizon_days,
        data_fingerprint=lake.fingerprint(request.cutoff),
        job_id=request.job_id,
        created_by=request.created_by,
    )


def _load_champion(
    read: Callable[[Settings, ModelVersion], Any], settings: Settings, champion: ModelVersion | None
) -> Any:
    """Load the champion. None without one, or if it cannot be read."""
    try:
        return read(settings, champion) if champion else None
    except Refused:
        return None


def recommend(
    settings: Settings,
    lake: "Lake",
    champion: ModelVersion | None,
    request: RetrainRequest,
    progress: Progress,
) -> RetrainResult:
    """Train a recommender. It evaluates itself on the last horizon before the cutoff."""
    from retention.recommend import train

    trained = train(
        lake,
        cutoff=request.cutoff,
        horizon_days=request.window.horizon_days,
        model=request.model,
        feedback=request.heard,
        progress=progress,
    )
    metrics = {key: value for key, value in trained.metrics.items() if key != "baselines"}
    baselines = trained.metrics.get("baselines") or {}
    champion_model = _load_champion(recommender, settings, champion)
    if champion is not None and champion_model is None:
        promote, why = True, gettext("The one in use cannot be read any more.")
    else:
        promote, why = _decide(champion, trained.estimator, trained.alone, metrics, baselines)
    progress(1, 1, gettext("Saving the recommender"))
    row = _row("recommend", trained, lake, request)
    row.parameters, row.features, row.metrics = trained.parameters, [], trained.metrics
    save(settings, row, trained.to_bytes())
    figures = {
        "metrics": metrics,
        "baselines": baselines,
        "base_rate": None,
        "customers": metrics.get("customers"),
    }
    return RetrainResult(row, promote, why, figures)


def _decide(
    champion: ModelVersion | None,
    estimator: str,
    alone: bool,
    metrics: dict[str, Any],
    baselines: dict[str, dict[str, float]],
) -> tuple[bool, str]:
    """Decide if a recommender replaces the one in use.

    A single model must not replace one that ranked better. A fault that the champion shares is not
    binding: otherwise a small shop would keep its first model, with old items, forever.
    """
    if champion is None:
        return True, gettext("It is the first.")
    before = champion.metrics.get("ndcg")
    same_kind = not alone or champion.estimator == estimator
    if not baselines:
        return _unmeasured_decision(before, same_kind)
    if _ranks_worse(metrics, baselines):
        champion_baselines = champion.metrics.get("baselines") or {}
        shares_fault = champion_baselines and _ranks_worse(champion.metrics, champion_baselines)
        if not same_kind or alone or not shares_fault:
            return False, gettext(
                "It does not rank better than both baselines, so the one in use stays."
            )
        return True, gettext(
            "It does not rank better than both baselines, nor did the one in use; it knows fresher "
            "data."
        )
    if not same_kind and before is not None and metrics["ndcg"] < before:
        return False, gettext(
            "Alone, {estimator} has an NDCG@10 of {ndcg:.3f} in its newest weeks; the one in use "
            "had {before:.3f} in those before its own cutoff, so it stays."
        ).format(estimator=estimator, ndcg=metrics["ndcg"], before=before)
    return True, gettext("It ranks better than both baselines, on fresher data.")


def _ranks_worse(metrics: dict[str, Any], baselines: dict[str, dict[str, float]]) -> bool:
    return any(metrics["ndcg"] < baseline["ndcg"] for baseline in baselines.values())


def _unmeasured_decision(champion_ndcg: float | None, same_kind: bool) -> tuple[bool, str]:
    """Decide about a recommender with too little data to measure.

    It only replaces an unmeasured one of its kind.
    """
    if champion_ndcg is not None:
        return False, gettext(
            "Too few customers bought in the last horizon before its cutoff to measure how it "
            "ranks, and the one in use was measured, so that stays; `models promote` puts this one "
            "into use all the same."
        )
    if not same_kind:
        return False, gettext(
            "Too few customers bought in the last horizon before its cutoff to measure how it "
            "ranks, and the one in use is of another kind, so that stays; `models promote` puts "
            "this one into use all the same."
        )
    return True, gettext(
        "Too few customers bought in the last horizon before its cutoff to measure how it ranks, "
        "as with the one in use; it knows fresher data."
    )
