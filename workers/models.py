"""What people do to models: promote a version, go back to the one before. Roles checked, deeds audited.

Every function works in the caller's session: the change and its audit row are one transaction.
"""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention import registry
from retention.db.tables import Audit, ModelVersion
from retention.settings import Settings
from workers import roles

ROLE = "admin"


def promote(session: Session, settings: Settings, version: str, user: str) -> tuple[ModelVersion, bool]:
    """Put a version into use; False where it already was, and then nothing is written."""
    roles.require(session, settings, user, ROLE, "promote a model")
    row = registry.find(session, settings, version)
    if row.state == "champion":
        return row, False
    before = registry.champion(session, settings, row.kind)
    registry.promote(session, settings, row, user)
    _audit(session, settings, user, "model.promote", row, before)
    return row, True


def roll_back(session: Session, settings: Settings, kind: str, user: str) -> ModelVersion:
    """Withdraw the champion of a kind and put the one before it back into use."""
    roles.require(session, settings, user, ROLE, "roll back a model")
    row, before = registry.roll_back(session, settings, kind, user)
    _audit(session, settings, user, "model.rollback", row, before)
    return row


def history(session: Session, settings: Settings, version: str) -> list[dict[str, Any]]:
    """What was done to a version, by whom and when, oldest first."""
    rows = session.scalars(
        select(Audit)
        .where(Audit.team_id == settings.team_id, Audit.subject == version, Audit.action.like("model.%"))
        .order_by(Audit.id.desc())
        .limit(8)
    ).all()
    return [
        {
            "at": row.at.isoformat(), "actor": row.actor, "action": row.action.removeprefix("model."),
            "why": row.details.get("why"),
        }
        for row in reversed(rows)
    ]  # fmt: skip


def _audit(
    session: Session,
    settings: Settings,
    user: str,
    action: str,
    row: ModelVersion,
    before: ModelVersion | None,
) -> None:
    session.add(
        Audit(
            team_id=settings.team_id, actor=user, action=action, subject=row.version,
            details={"before": before.version if before else None},
        )
    )  # fmt: skip
