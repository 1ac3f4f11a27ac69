"""Check roles.

They are checked at the command, at the click and again in the task.
"""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, select
from sqlalchemy.orm import Session

from retention.db.tables import RoleGrant
from retention.errors import NotAllowed
from retention.settings import Settings
from retention.text import gettext

RANKS = ("viewer", "analyst", "approver", "admin")
GROUP_PREFIX = "S"  # of a user group's id; a person's starts with U or W
MAX_NAMED = 3  # people whom a refusal names
OPERATOR = "operator"  # the person at the terminal: an admin who cannot approve


def role_of(session: Session, settings: Settings, user_id: str) -> str:
    """Return a user's role.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    user_id : str
        Slack user id, or `OPERATOR`.

    Returns
    -------
    str
        One of `RANKS`.
    """
    if _is_admin(settings, user_id):  # also before `db upgrade` has created the table of grants
        return "admin"
    session.flush()  # a grant may not be flushed yet
    granted = session.connection().scalar(
        _granted(), {"team_id": settings.team_id, "user_id": user_id}
    )
    return effective_role(settings, user_id, granted)


def effective_role(settings: Settings, user_id: str, granted: str | None) -> str:
    """Return a user's role from the grant.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    user_id : str
        Slack user id, or `OPERATOR`.
    granted : str or None
        The stored grant, if any.

    Returns
    -------
    str
        One of `RANKS`.
    """
    return "admin" if _is_admin(settings, user_id) else granted or settings.default_role


def _is_admin(settings: Settings, user_id: str) -> bool:
    return user_id == OPERATOR or user_id in settings.admin_ids


@cache
def _granted() -> Select[Any]:
    """Return the statement for one person's role.

    It is built once, because people wait for every command.
    """
    grants = RoleGrant.__table__.c
    return select(grants.role).where(
        grants.team_id == bindparam("team_id"), grants.user_id == bindparam("user_id")
    )


def allows(role: str, needed: str) -> bool:
    """Return whether a role includes the needed role.

    Parameters
    ----------
    role : str
        Role of the person.
    needed : str
        Role that an action needs.

    Returns
    -------
    bool
        True for the needed role and all above it.
    """
    return RANKS.index(role) >= RANKS.index(needed)


def holders(session: Session, settings: Settings, needed: str) -> list[str]:
    """Return people with at least a role.

    The default role makes no one a holder.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    needed : str
        Role that an action needs.

    Returns
    -------
    list of str
        Sorted Slack user ids.
    """
    enough = RANKS[RANKS.index(needed) :]
    granted = dict(
        session.execute(
            select(RoleGrant.user_id, RoleGrant.role).where(
                RoleGrant.team_id == settings.team_id, ~is_group_grant()
            )
        )
        .tuples()
        .all()
    )
    return sorted(settings.admin_ids | {user for user, role in granted.items() if role in enough})


def an_admin(session: Session, settings: Settings, preferred: str) -> str:
    """Return a person if they are an admin, or else the first admin; empty without any."""
    admins = holders(session, settings, "admin")
    if preferred in admins:
        return preferred
    return next(iter(sorted(settings.admin_ids & set(admins))), admins[0] if admins else "")


def is_group_grant() -> ColumnElement[bool]:
    """Return the condition that a row of `RoleGrant` is a group's, not a person's."""
    return RoleGrant.user_id.startswith(GROUP_PREFIX)


def grant_to_members(
    session: Session, settings: Settings, members: Mapping[str, Collection[str]]
) -> None:
    """Give the members of groups with a role that role.

    A person's own role counts before those of their groups. Among these, the highest counts.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    members : mapping
        User ids by group id. Members of a group that is left out keep the role that is from it.
    """
    session.flush()
    team = RoleGrant.team_id == settings.team_id
    groups = session.scalars(select(RoleGrant).where(team, is_group_grant())).all()
    granted = session.scalars(select(RoleGrant).where(team, ~is_group_grant())).all()
    own = {grant.user_id for grant in granted if grant.via is None}
    best: dict[str, tuple[int, RoleGrant]] = {}
    for group in groups:
        known = members.get(group.user_id)
        users = (
            known
            if known is not None
            else [grant.user_id for grant in granted if grant.via == group.user_id]
        )
        for user in users:
            rank = RANKS.index(group.role)
            if user not in own and rank > best.get(user, (-1, group))[0]:
                best[user] = rank, group
    inherited = {grant.user_id: grant for grant in granted if grant.via is not None}
    for user in inherited.keys() - best.keys():
        session.delete(inherited[user])
    for user, (_, group) in best.items():
        row = inherited.get(user) or RoleGrant(team_id=settings.team_id, user_id=user)
        row.role, row.granted_by, row.via = group.role, group.granted_by, group.user_id
        session.add(row)
    session.flush()


def require(session: Session, settings: Settings, user_id: str, needed: str, deed: str) -> None:
    """Raise unless a person's role allows an action.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    user_id : str
        Slack user id, or `OPERATOR`.
    needed : str
        Role that the action needs.
    deed : str
        The action, as in "to … you need analyst".

    Raises
    ------
    NotAllowed
        Names the role that the person has, the role that the action needs and the command that
        grants it.
    """
    role = role_of(session, settings, user_id)
    people = holders(session, settings, needed)[:MAX_NAMED] if needed == "approver" else []
    if people and not allows(role, needed):
        # Four eyes: the next step is a colleague, not a higher role.
        raise NotAllowed(
            gettext(
                "Your role is {role}; to {deed} you need {needed}. Ask somebody who has that role."
            ).format(role=role, deed=deed, needed=needed),
            people=people,
        )
    check(role, needed, deed)


def check(role: str, needed: str, deed: str) -> None:
    """Raise unless a role allows an action.

    Parameters
    ----------
    role : str
        Role of the person.
    needed : str
        Role that the action needs.
    deed : str
        The action, as in "to … you need analyst".

    Raises
    ------
    NotAllowed
        The role does not allow it.
    """
    if not allows(role, needed):
        raise NotAllowed(
            gettext(
                "Your role is {role}; to {deed} you need {needed}. An admin can grant it with "
                "`/retention role`."
            ).format(role=role, deed=deed, needed=needed)
        )
