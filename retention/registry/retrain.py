"""Retrain: new models, judged on the newest weeks whose outcome is known, promoted where they are better."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from retention.db.tables import ModelVersion
from retention.errors import Refused
from retention.progress import Progress, part
from retention.registry.store import load, save
from retention.settings import Settings


@dataclass(frozen=True, slots=True)
class Trained:
    """A new version, not yet in any session; whether to promote it, and the sentence that says why."""

    row: ModelVersion
    promote: bool
    why: str
    judged: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """For the job's result and the templates."""
        row = self.row
        return {
            "kind": row.kind, "version": row.version, "estimator": row.estimator, "rung": row.rung,
            "cutoff": row.cutoff.isoformat(), "promoted": self.promote, "why": self.why, **self.judged,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What to train, and in whose name."""

    cutoff: datetime
    horizon_days: int
    active_within_days: int | None
    model: str
    created_by: str
    job_id: str | None


def churn(
    settings: Settings, lake: Any, champion: ModelVersion | None, asked: Asked, progress: Progress
) -> Trained:
    """Train on everything before the cutoff; judge the same recipe one horizon earlier, where the outcome is known.

    Raises
    ------
    BadInput, TooLittleData
        See `retention.churn.train`.
    """
    from retention.churn import evaluate, train

    known = asked.cutoff - timedelta(days=asked.horizon_days)
    same: dict[str, Any] = {
        "horizon_days": asked.horizon_days, "active_within_days": asked.active_within_days, "model": asked.model,
    }  # fmt: skip
    trained = train(lake, cutoff=asked.cutoff, progress=part(progress, 0, 2), **same)
    judged = _tried(lambda: evaluate(lake, cutoff=known, progress=part(progress, 1, 2), **same))
    kept = {key: judged.get(key) for key in ("metrics", "baselines", "base_rate", "customers")}
    promote, why = _better(settings, lake, champion, asked, judged, known)
    progress(1, 1, "Saving the model")
    row = save(
        settings, "churn", trained.to_bytes(), estimator=trained.estimator, cutoff=asked.cutoff,
        horizon_days=asked.horizon_days, active_within_days=asked.active_within_days,
        parameters={**trained.parameters, "calibration": trained.calibration, "train_rows": trained.train_rows},
        features=trained.columns, metrics={**(judged.get("metrics") or {}), "judged_at": known.isoformat(), **kept},
        fingerprint=lake.fingerprint(asked.cutoff), seed=trained.seed, rung=trained.rung,
        created_by=asked.created_by, job_id=asked.job_id,
    )  # fmt: skip
    return Trained(
        row, promote, why, {**kept, "train_rows": trained.train_rows, "calibration": trained.calibration}
    )


def recommend(
    settings: Settings, lake: Any, champion: ModelVersion | None, asked: Asked, progress: Progress
) -> Trained:
    """Train the recommender; it judges itself on the last horizon before the cutoff."""
    from retention.recommend import train

    trained = train(lake, cutoff=asked.cutoff, horizon_days=asked.horizon_days, progress=progress)
    metrics = {key: value for key, value in trained.metrics.items() if key != "baselines"}
    baselines = trained.metrics.get("baselines") or {}
    beaten = all(metrics["ndcg"] >= one["ndcg"] for one in baselines.values()) if baselines else False
    if champion is None:
        promote, why = True, "It is the first."
    elif beaten:
        promote, why = True, "It ranks better than both baselines, on fresher data."
    else:
        promote, why = False, "It does not rank better than both baselines, so the one in use stays."
    progress(1, 1, "Saving the recommender")
    row = save(
        settings, "recommend", trained.to_bytes(), estimator=trained.estimator, cutoff=asked.cutoff,
        horizon_days=asked.horizon_days, active_within_days=None, parameters=trained.parameters, features=(),
        metrics=trained.metrics, fingerprint=lake.fingerprint(asked.cutoff), seed=trained.seed, rung=trained.rung,
        created_by=asked.created_by, job_id=asked.job_id,
    )  # fmt: skip
    judged = {
        "metrics": metrics,
        "baselines": baselines,
        "base_rate": None,
        "customers": metrics.get("customers"),
    }
    return Trained(row, promote, why, judged)


def _tried(evaluation: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The evaluation, or why there is none: a first model is useful before it can be judged."""
    try:
        return evaluation()
    except Refused as refusal:
        return {"refused": str(refusal)}


def _better(
    settings: Settings, lake: Any, champion: ModelVersion | None, asked: Asked, judged: dict[str, Any],
    known: datetime,
) -> tuple[bool, str]:  # fmt: skip
    """Whether a new churn model should take over, and why, in a sentence."""
    if champion is None:
        return True, "It is the first."
    if "metrics" not in judged:
        return False, f"It could not be judged, so the one in use stays: {judged['refused']}"
    loss = judged["metrics"]["log_loss"]
    best = min(one["log_loss"] for one in judged["baselines"].values())
    if loss > best:
        return (
            False,
            f"A baseline did better (log-loss {best:.4f} against {loss:.4f}), so the one in use stays.",
        )
    same = (champion.horizon_days, champion.active_within_days) == (
        asked.horizon_days,
        asked.active_within_days,
    )
    if not same:
        return True, "Churn is defined differently from now on, and it beats all three baselines."
    if champion.cutoff > known:
        return True, "It beats all three baselines and learned from fresher data than the one before."
    before = _log_loss(settings, lake, champion, known)
    if before is not None and before < loss:
        return False, f"The one in use still does better (log-loss {before:.4f} against {loss:.4f})."
    return True, "It beats all three baselines and the one before."


def _log_loss(settings: Settings, lake: Any, champion: ModelVersion, known: datetime) -> float | None:
    """The champion on the same customers, whom it has not seen; None where its artefact cannot be read."""
    from retention.churn import TrainedChurn
    from retention.churn.metrics import metrics
    from retention.churn.snapshots import take

    try:
        trained = TrainedChurn.from_bytes(load(settings, champion))
    except Refused:
        return None
    test = take(lake, known, horizon_days=trained.horizon_days, active_within_days=trained.active_within_days)
    if test.churned is None:
        return None
    return metrics(test.churned, trained.predict(test))["log_loss"]
