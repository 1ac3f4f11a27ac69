"""Write and read the audit log."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from sqlalchemy import select

from retention.db import audit_chain
from retention.db.engine import Transaction
from retention.db.tables import Audit

_SYSTEM_USER: ContextVar[str | None] = ContextVar("system_user", default=None)


@contextmanager
def in_the_terminal() -> Iterator[None]:
    """Name the system's user in the entries of a block, in which a command acts as someone else."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name  # not from the environment, which anybody can set
    except KeyError:
        name = str(os.getuid())
    token = _SYSTEM_USER.set(name)
    try:
        yield
    finally:
        _SYSTEM_USER.reset(token)


def history(
    session: Transaction, team_id: str, subject: str, kind: str, latest: int | None = 8
) -> list[dict[str, Any]]:
    """Return a subject's audit entries, oldest first.

    `kind`: prefix of the actions, such as ``campaign`` in ``campaign.approve``.
    `latest`: number of newest entries; None for all.
    Returns: ``at`` (ISO 8601), ``actor``, ``system_user`` (of the terminal with ``--as``, else
    None), ``action`` (without prefix), ``why`` (None without a reason).
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
    return [step_of(row, kind) for row in reversed(rows)]


def step_of(entry: Audit, kind: str) -> dict[str, Any]:
    """Return an entry as `history` does."""
    return {
        "at": entry.at.isoformat(),
        "actor": entry.actor,
        "system_user": entry.details.get("system_user"),
        "action": entry.action.removeprefix(f"{kind}."),
        "why": entry.details.get("why") or entry.details.get("reason"),
    }


def record(
    session: Transaction,
    actor: str,
    action: str,
    subject: str,
    at: datetime,
    details: dict[str, Any],
) -> None:
    """Add an entry to the audit log.

    `action`: such as ``campaign.approve``.
    """
    if system_user := _SYSTEM_USER.get():
        details = {**details, "system_user": system_user}
    entry = Audit(actor=actor, action=action, subject=subject, details=details, at=at)
    entry.team_id = session.settings.team_id
    audit_chain.add(session, entry)
