"""Who may do what. Checked at the command, at the click, and again in the task."""

from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from retention.db.tables import RoleGrant
from retention.errors import NotAllowed
from retention.settings import Settings
from retention.text import gettext

RANKS = ("viewer", "analyst", "approver", "admin")
OPERATOR = "operator"  # the person at the terminal: an admin who cannot approve


def role_of(session: Session, settings: Settings, user_id: str) -> str:
    """The role of a Slack user (or of the terminal's operator)."""
    session.flush()  # a grant may still be on its way
    granted = session.connection().scalar(
        _granted(), {"team_id": settings.team_id, "user_id": user_id}
    )
    return effective_role(settings, user_id, granted)


def effective_role(settings: Settings, user_id: str, granted: str | None) -> str:
    """Return the role of a user whose stored grant is known; None for no grant."""
    if user_id == OPERATOR or user_id in settings.admin_ids:
        return "admin"
    return granted or settings.default_role


@cache
def _granted() -> Select[Any]:
    """Return the statement for one person's role, built once: every command runs it while somebody waits."""
    grants = RoleGrant.__table__.c
    return select(grants.role).where(
        grants.team_id == bindparam("team_id"), grants.user_id == bindparam("user_id")
    )


def allows(role: str, needed: str) -> bool:
    """Whether ``role`` may do what needs ``needed``: each role may also do what those before it may."""
    return RANKS.index(role) >= RANKS.index(needed)


def holders(session: Session, settings: Settings, needed: str) -> list[str]:
    """Everybody known by name who may do what needs ``needed``; nobody by the role of those without one."""
    enough = RANKS[RANKS.index(needed) :]
    granted = dict(
        session.execute(
            select(RoleGrant.user_id, RoleGrant.role).where(RoleGrant.team_id == settings.team_id)
        )
        .tuples()
        .all()
    )
    return sorted(settings.admin_ids | {user for user, role in granted.items() if role in enough})


def require(session: Session, settings: Settings, user_id: str, needed: str, deed: str) -> None:
    """Raise a sentence for the person unless they may do ``deed``.

    Raises
    ------
    NotAllowed
        Naming the role they have, the role it needs and who can grant it.
    """
    check(role_of(session, settings, user_id), needed, deed)


def check(role: str, needed: str, deed: str) -> None:
    """Raise `NotAllowed` unless ``role`` may do ``deed``, which needs the role ``needed``."""
    if not allows(role, needed):
        raise NotAllowed(
            gettext(
                "Your role is {role}; to {deed} you need {needed}. An admin can grant it with "
                "`/retention role`."
            ).format(role=role, deed=deed, needed=needed)
        )
