"""Check the champion's matured predictions and its customers' drift.

It has *decayed* in two cases. Either the log-loss of its matured predictions is above that of its
backtest, and the 95% interval of their difference excludes 0. Or the PSI of its scores reaches .25
(or the value that chance gives so few customers). Drift of single features raises no alarm, because
tree models tolerate most of it.

References
----------
Zou, Donner (2008), Construction of confidence limits about effect measures, Statistics in Medicine
27 (the interval of a difference from two intervals).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import hypot
from typing import TYPE_CHECKING, Any

from retention import clock
from retention.churn import drift
from retention.churn.model import TrainedChurn
from retention.churn.model_features import meaning
from retention.churn.population import population
from retention.churn.snapshots import Snapshot
from retention.db import Database
from retention.db.tables import ModelHealth, ModelVersion
from retention.errors import BadInput, TooLittleData
from retention.monitoring.outcome import Outcome, matured_outcome
from retention.progress import Progress, silent
from retention.registry import champion
from retention.registry.model_cache import churn_model
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake import Lake

SHOWN = 5  # most drifted features, without those that grow with time


@dataclass(frozen=True, slots=True)
class Health:
    """Result of a check.

    ``state`` is ``healthy``, ``decayed``, or ``waiting`` for predictions to mature.

    ``reasons`` list the problems as ``{"check", "text"}``.
    """

    row: ModelVersion
    at: datetime
    state: str
    reasons: tuple[dict[str, str], ...]
    outcome: Outcome | None
    drift: dict[str, Any]

    def record(self, settings: Settings, job_id: str | None) -> ModelHealth:
        """Return the database row of the check. The caller adds it to a session."""
        outcome = self.outcome
        return ModelHealth(
            team_id=settings.team_id,
            version=self.row.version,
            at=self.at,
            state=self.state,
            reasons=list(self.reasons),
            source=outcome.source if outcome else "",
            scored_version=outcome.version if outcome else None,
            scored_as_of=outcome.as_of if outcome else None,
            customers=outcome.customers if outcome else 0,
            metrics=_metrics(outcome) if outcome else {},
            baselines=outcome.baselines if outcome else {},
            promised=backtest_metrics(self.row),
            drift=self.drift,
            alerted=False,
            job_id=job_id,
            created_at=clock.now(),
        )


def check(lake: "Lake", database: Database, *, progress: Progress = silent) -> Health:
    """Check the churn champion now."""
    with database.reading() as session:
        row = champion(session, "churn")
    if row is None:
        message = gettext("No churn model is in use, so there is nothing to look at.")
        raise BadInput(message, hint="retrain")
    trained = churn_model(database.settings, row)
    at = _now(lake, row.horizon_days)
    progress(0, 3, gettext("Looking at what came true"))
    with database.reading() as session:
        outcome = matured_outcome(lake, session, row, trained, at)
    progress(1, 3, gettext("Looking for drift"))
    try:
        people = population(lake, at, row.window)
        moved = _drift(row, trained, people)
    except TooLittleData:  # no active customer; the digest reports this
        moved = {}
    progress(3, 3, gettext("Looking at the model"))
    reasons = (*_loss_reasons(outcome, row, lake), *_drift_reasons(moved))
    if reasons:
        state = "decayed"
    else:
        state = "healthy" if outcome and outcome.version == row.version else "waiting"
    return Health(row, clock.now(), state, reasons, outcome, moved)


def backtest_metrics(row: ModelVersion) -> dict[str, float]:
    """Return the model's backtest metrics. Empty if it had no backtest."""
    metrics = row.metrics.get("pooled") or row.metrics.get("metrics") or {}
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}


def _now(lake: "Lake", horizon_days: int) -> datetime:
    """Return business time, limited to the data's end. Missing orders are no churn."""
    moment = lake.as_of(None, horizon_days)
    newest = lake.newest_event(before=moment.at)
    return min(moment.at, newest + timedelta(days=1)) if newest else moment.at


def _metrics(outcome: Outcome) -> dict[str, Any]:
    interval = {"low": outcome.log_loss.low, "high": outcome.log_loss.high}
    return {**outcome.metrics, "log_loss_interval": interval}


def _loss_reasons(outcome: Outcome | None, row: ModelVersion, lake: "Lake") -> list[dict[str, str]]:
    """Return the reason if predictions are too bad.

    They are worse than the backtest beyond chance. The backtest is itself measured on a few
    customers, so its own interval counts, too.
    """
    promised = backtest_metrics(row).get("log_loss")
    if outcome is None or outcome.version != row.version or promised is None:
        return []
    loss = outcome.log_loss
    # versions stored before the interval existed count as exact
    highest = (row.metrics.get("pooled") or {}).get("log_loss_interval", {}).get("high", promised)
    if loss.mean - promised <= hypot(loss.mean - loss.low, highest - promised):
        return []
    as_of = lake.local(outcome.as_of)
    text = gettext(
        "its predictions of {as_of:%Y-%m-%d} came out worse than promised: log-loss"
        " {mean:.3f} (95% {low:.3f} to {high:.3f}) against {promised:.3f}"
    ).format(as_of=as_of, mean=loss.mean, low=loss.low, high=loss.high, promised=promised)
    return [{"check": "log_loss", "text": text}]


def _drift_reasons(moved: dict[str, Any]) -> list[dict[str, str]]:
    if not moved or moved["score_psi"] < moved["limit"]:
        return []
    text = gettext(
        "its scores are spread differently from when it learned: a change of "
        "{score_psi:.2f}, limit {limit:.2f}"
    ).format(score_psi=moved["score_psi"], limit=moved["limit"])
    return [{"check": "score_psi", "text": text}]


def _drift(row: ModelVersion, trained: TrainedChurn, people: Snapshot) -> dict[str, Any]:
    """Compute the PSI of scores and features against the training window, if it is stored."""
    profile = row.metrics.get("reference")
    if not profile:
        return {}
    measured = drift.population_drift(profile["features"], people)
    return {
        **measured,
        "score_psi": drift.profile_psi(profile["scores"], trained.predict(people)),
        "limit": drift.psi_limit(profile["scores"], len(people.frame)),
        "most": [
            {
                "feature": name,
                "meaning": meaning(name, row.horizon_days),
                "psi": measured["features"][name],
            }
            for name in drift.drifted_features(measured["features"])[:SHOWN]
        ],
    }
