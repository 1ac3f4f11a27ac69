"""Write and read the audit log: who did what to which object, when and why."""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.tables import Audit
from retention.settings import Settings


def history(
    session: Session, team_id: str, subject: str, kind: str, latest: int | None = 8
) -> list[dict[str, Any]]:
    """The entries about a subject, oldest first.

    Parameters
    ----------
    subject : str
        The id of the thing: a campaign, a model version.
    kind : str
        What its actions begin with: ``campaign`` for ``campaign.approve``.
    latest : int or None
        Only so many, the newest; None for all.

    Returns
    -------
    list of dict
        ``at`` (ISO 8601), ``actor``, ``action`` (without its kind), ``why`` (None where nobody said).
    """
    rows = session.scalars(
        select(Audit)
        .where(
            Audit.team_id == team_id,
            Audit.subject == subject,
            Audit.action.startswith(f"{kind}.", autoescape=True),
        )
        .order_by(Audit.id.desc())
        .limit(latest)
    ).all()
    return [
        {
            "at": row.at.isoformat(),
            "actor": row.actor,
            "action": row.action.removeprefix(f"{kind}."),
            "why": row.details.get("why") or row.details.get("reason"),
        }
        for row in reversed(rows)
    ]


def record(
    session: Session,
    settings: Settings,
    actor: str,
    action: str,
    subject: str,
    at: datetime,
    details: dict[str, Any],
) -> None:
    """Add an audit row: who did what to what, when (business time) and why."""
    session.add(
        Audit(
            team_id=settings.team_id,
            actor=actor,
            action=action,
            subject=subject,
            details=details,
            at=at,
        )
    )
