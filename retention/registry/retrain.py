"""Retrain: new models, judged on the newest weeks whose outcome is known, promoted where they are better."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from retention.db.tables import ModelVersion
from retention.errors import Refused
from retention.progress import Progress, part
from retention.registry.model_cache import churn_model, recommender
from retention.registry.store import save
from retention.settings import Settings

SEED = 0


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
            "kind": row.kind,
            "version": row.version,
            "estimator": row.estimator,
            "rung": row.rung,
            "cutoff": row.cutoff.isoformat(),
            "promoted": self.promote,
            "why": self.why,
            **self.judged,
        }


@dataclass(frozen=True, slots=True)
class Asked:
    """What to train, and in whose name."""

    cutoff: datetime
    horizon_days: int
    active_within_days: int | None
    model: str
    created_by: str
    job_id: str | None
    doubted: tuple[tuple[str, datetime], ...] = ()  # labels to leave out: see retention.feedback
    heard: Any = None  # answers to recommendations: see retention.recommend.responses
    tune_seconds: float | None = None  # how long to search the estimators' settings, or
    tune_fits: int | None = None  # with how many fits; neither: not at all


def churn(
    settings: Settings, lake: Any, champion: ModelVersion | None, asked: Asked, progress: Progress
) -> Trained:
    """Train on everything before the cutoff; judge the recipe on earlier origins, where the outcome is known.

    The snapshots are taken once: those that the model learns from are, one horizon earlier each, the origins on which
    its recipe is judged (`retention.registry.gate`).

    Raises
    ------
    BadInput, TooLittleData
        See `retention.churn.train`.
    """
    from retention.churn import targets
    from retention.churn.doubted_labels import without
    from retention.churn.model import fit
    from retention.churn.segments import attributes_of
    from retention.churn.snapshots import history
    from retention.churn.tuning import Budget
    from retention.registry.backtest import judge
    from retention.registry.reference import reference

    training = history(
        lake,
        cutoff=asked.cutoff,
        horizon_days=asked.horizon_days,
        active_within_days=asked.active_within_days,
        progress=part(progress, 0, 3),
    )
    kept = without(training, asked.doubted)
    budget = (
        Budget(asked.tune_seconds, asked.tune_fits)
        if asked.tune_seconds or asked.tune_fits
        else None
    )
    trained = fit(kept, model=asked.model, seed=SEED, tune=budget, progress=part(progress, 1, 3))
    progress(2, 3, "Learning purchase intent")
    about = trained.parameters
    trained = replace(
        trained, parameters={**about, targets.HELD: targets.learn(lake, training, trained.columns)}
    )
    used = _loaded(churn_model, settings, champion)
    found = judge(training, trained, used, progress=part(progress, 2, 3))
    progress(1, 1, "Saving the model")
    judged = found.as_dict()
    row = save(
        settings,
        "churn",
        trained.to_bytes(),
        estimator=trained.estimator,
        cutoff=asked.cutoff,
        horizon_days=asked.horizon_days,
        active_within_days=asked.active_within_days,
        parameters={**about, "calibration": trained.calibration, "train_rows": trained.train_rows},
        features=trained.columns,
        metrics={
            **(judged["metrics"] or {}),
            **judged,
            "reference": reference(training, trained),
            "segments": found.by_segment(attributes_of(lake)),
        },
        fingerprint=lake.fingerprint(asked.cutoff),
        seed=trained.seed,
        rung=trained.rung,
        created_by=asked.created_by,
        job_id=asked.job_id,
    )
    told = {key: judged[key] for key in ("metrics", "baselines", "base_rate", "customers")}
    checks = [check.as_dict() for check in found.checks]
    return Trained(
        row,
        found.promote,
        _told(found.why, champion, used),
        {
            **told,
            "checks": checks,
            "train_rows": trained.train_rows,
            "calibration": trained.calibration,
        },
    )


def _loaded(
    read: Callable[[Settings, ModelVersion], Any], settings: Settings, champion: ModelVersion | None
) -> Any:
    """The champion itself; None where there is none, or its artefact cannot be read: it cannot be used either."""
    try:
        return read(settings, champion) if champion else None
    except Refused:
        return None


def _told(why: str, champion: ModelVersion | None, used: Any) -> str:
    """A verdict in words; what takes the place of one that cannot be read is not the first."""
    unread = champion is not None and used is None
    return (
        why.replace("It is the first", "The one in use cannot be read any more") if unread else why
    )


def recommend(
    settings: Settings, lake: Any, champion: ModelVersion | None, asked: Asked, progress: Progress
) -> Trained:
    """Train the recommender; it judges itself on the last horizon before the cutoff."""
    from retention.recommend import train

    trained = train(
        lake,
        cutoff=asked.cutoff,
        horizon_days=asked.horizon_days,
        model=asked.model,
        heard=asked.heard,
        progress=progress,
    )
    metrics = {key: value for key, value in trained.metrics.items() if key != "baselines"}
    baselines = trained.metrics.get("baselines") or {}
    used = _loaded(recommender, settings, champion)
    promote, why = _ranks_better(
        champion if used is not None else None, trained.estimator, trained.alone, metrics, baselines
    )
    progress(1, 1, "Saving the recommender")
    row = save(
        settings,
        "recommend",
        trained.to_bytes(),
        estimator=trained.estimator,
        cutoff=asked.cutoff,
        horizon_days=asked.horizon_days,
        active_within_days=None,
        parameters=trained.parameters,
        features=(),
        metrics=trained.metrics,
        fingerprint=lake.fingerprint(asked.cutoff),
        seed=trained.seed,
        rung=trained.rung,
        created_by=asked.created_by,
        job_id=asked.job_id,
    )
    judged = {
        "metrics": metrics,
        "baselines": baselines,
        "base_rate": None,
        "customers": metrics.get("customers"),
    }
    return Trained(row, promote, _told(why, champion, used), judged)


def _ranks_better(
    champion: ModelVersion | None,
    estimator: str,
    alone: bool,
    metrics: dict[str, Any],
    baselines: dict[str, dict[str, float]],
) -> tuple[bool, str]:
    """Whether to use a recommender; one model alone must not take the place of something that ranked better.

    A fault that the one in use has as well binds nobody, or a small shop would keep its first model, and what was on the
    shelf then, for ever.
    """
    if champion is None:
        return True, "It is the first."
    before = champion.metrics.get("ndcg")
    usual = not alone or champion.estimator == estimator
    if not baselines:
        return _unmeasured(before is None and usual, before is None)
    if _behind(metrics, baselines):
        theirs = champion.metrics.get("baselines") or {}
        if not usual or alone or not theirs or not _behind(champion.metrics, theirs):
            return False, "It does not rank better than both baselines, so the one in use stays."
        return (
            True,
            "It does not rank better than both baselines, nor did the one in use; it knows fresher data.",
        )
    if (
        alone
        and champion.estimator != estimator
        and before is not None
        and metrics["ndcg"] < before
    ):
        return False, (
            f"Alone, {estimator} has an NDCG@10 of {metrics['ndcg']:.3f} in its newest weeks; the one in use had {before:.3f} "
            "in those before its own cutoff, so it stays."
        )
    return True, "It ranks better than both baselines, on fresher data."


def _behind(metrics: dict[str, Any], baselines: dict[str, dict[str, float]]) -> bool:
    return any(metrics["ndcg"] < one["ndcg"] for one in baselines.values())


def _unmeasured(promote: bool, neither: bool) -> tuple[bool, str]:
    """A recommender of which there is no telling how it ranks: it takes the place of one of its own kind alone."""
    why = "Too few customers bought in the last horizon before its cutoff to measure how it ranks"
    if promote:
        return True, f"{why}, as with the one in use; it knows fresher data."
    stays = "the one in use is of another kind" if neither else "the one in use was measured"
    return (
        False,
        f"{why}, and {stays}, so that stays; `models promote` puts this one into use all the same.",
    )
