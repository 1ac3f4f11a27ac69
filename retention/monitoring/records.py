"""Read stored results of model checks.

SQL only, so the light bot can read them.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.tables import ModelHealth
from retention.settings import Settings


def latest(session: Session, settings: Settings, version: str) -> ModelHealth | None:
    """Return the newest check of a version.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    version : str
        Version of the model.

    Returns
    -------
    ModelHealth or None
        None if it was never checked.
    """
    return session.scalar(
        select(ModelHealth)
        .where(ModelHealth.team_id == settings.team_id, ModelHealth.version == version)
        .order_by(ModelHealth.at.desc(), ModelHealth.id.desc())
    )


def describe(health: ModelHealth) -> dict[str, Any]:
    """Return a check as JSON.

    For templates, the status and the model card.
    """
    return {
        "version": health.version,
        "at": health.at.isoformat(),
        "state": health.state,
        "reasons": health.reasons,
        "source": health.source,
        "scored_version": health.scored_version,
        "scored_as_of": health.scored_as_of.isoformat() if health.scored_as_of else None,
        "customers": health.customers,
        "metrics": health.metrics,
        "baselines": health.baselines,
        "promised": health.promised,
        "drift": health.drift,
    }


def was_alerted(
    session: Session, settings: Settings, version: str, checks: list[str], since: datetime
) -> bool:
    """Return whether such an alert was sent recently.

    It was for this version, with these reasons or more, at or after ``since``.

    Parameters
    ----------
    session, settings : Session, Settings
        The caller's transaction and installation.
    version : str
        The model's version.
    checks : list of str
        Names of the failed checks.
    since : datetime
        Earlier alerts do not count.
    """
    alerts = session.scalars(
        select(ModelHealth.reasons).where(
            ModelHealth.team_id == settings.team_id,
            ModelHealth.version == version,
            ModelHealth.alerted,
            ModelHealth.at >= since,
        )
    )
    return any(set(checks) <= {reason["check"] for reason in reasons} for reasons in alerts)
