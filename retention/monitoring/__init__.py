"""Monitor the champion's predictions and its customers' drift; here are the stored results."""

from datetime import datetime
from typing import Any

from sqlalchemy import select

from retention.db import Transaction
from retention.db.tables import ModelHealth


def latest(session: Transaction, version: str) -> ModelHealth | None:
    """Return the newest check of a version."""
    return session.scalar(
        select(ModelHealth)
        .where(ModelHealth.team_id == session.settings.team_id, ModelHealth.version == version)
        .order_by(ModelHealth.at.desc(), ModelHealth.id.desc())
    )


def describe(health: ModelHealth) -> dict[str, Any]:
    """Return a check as JSON. For templates, the status and the model card."""
    names = ("version", "state", "reasons", "source", "scored_version", "customers", "metrics")
    return {
        **{name: getattr(health, name) for name in (*names, "baselines", "promised", "drift")},
        "at": health.at.isoformat(),
        "scored_as_of": health.scored_as_of.isoformat() if health.scored_as_of else None,
    }


def was_alerted(session: Transaction, version: str, checks: list[str], since: datetime) -> bool:
    """Return whether such an alert was sent recently.

    It was for this version, with these reasons or more, at or after ``since``.
    """
    query = select(ModelHealth.reasons).where(
        ModelHealth.team_id == session.settings.team_id,
        ModelHealth.version == version,
        ModelHealth.alerted,
        ModelHealth.at >= since,
    )
    alerts = session.scalars(query)
    return any(set(checks) <= {reason["check"] for reason in reasons} for reasons in alerts)
