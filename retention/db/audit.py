"""Reading the audit log: what was done to one thing, by whom, when and why."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.tables import Audit


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
            "at": row.at.isoformat(), "actor": row.actor, "action": row.action.removeprefix(f"{kind}."),
            "why": row.details.get("why") or row.details.get("reason"),
        }
        for row in reversed(rows)
    ]  # fmt: skip
