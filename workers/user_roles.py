"""Check roles.

They are checked once a request: before a command's parameters are used, or at the click. A
decision about a campaign and the task check again, because a role can be taken away in between.
"""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, select

from retention import clock
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import RoleGrant
from retention.errors import NotAllowed
from retention.logs import mask
from retention.text import gettext

RANKS = ("viewer", "analyst", "approver", "admin")
GROUP_PREFIX = "S"  # of a user group's id; a person's starts with U or W
MAX_NAMED = 3  # people whom a refusal names
OPERATOR = "operator"  # the person at the terminal: an admin who cannot approve


def role_of(session: Transaction, user_id: str) -> str:
    """Return a user's role.

    `user_id`: Slack user id, or `OPERATOR`.
    """
    settings = session.settings
    # This comes first: `db upgrade` has yet to create the table of grants.
    if user_id == OPERATOR or user_id in settings.admin_ids:
        return "admin"
    session.flush()  # a grant may not be flushed yet
    key = {"team_id": settings.team_id, "user_id": user_id}
    return session.connection().scalar(_granted(), key) or settings.default_role


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
    """Return whether a role includes the needed role."""
    return RANKS.index(role) >= RANKS.index(needed)


def holders(session: Transaction, needed: str) -> list[str]:
    """Return people with at least a role.

    The default role makes no one a holder.

    Returns: sorted Slack user ids.
    """
    enough = RANKS[RANKS.index(needed) :]
    granted = dict(
        session.execute(
            select(RoleGrant.user_id, RoleGrant.role).where(
                RoleGrant.team_id == session.settings.team_id, ~is_group_grant()
            )
        )
        .tuples()
        .all()
    )
    return sorted(
        session.settings.admin_ids | {user for user, role in granted.items() if role in enough}
    )


def an_admin(session: Transaction, preferred: str) -> str:
    """Return a person if they are an admin, or else the first admin; empty without any."""
    admins = holders(session, "admin")
    if preferred in admins:
        return preferred
    return next(iter(sorted(session.settings.admin_ids & set(admins))), admins[0] if admins else "")


def is_group_grant() -> ColumnElement[bool]:
    """Return the condition that a row of `RoleGrant` is a group's, not a person's."""
    return RoleGrant.user_id.startswith(GROUP_PREFIX)


def grant_to_members(session: Transaction, members: Mapping[str, Collection[str]]) -> None:
    """Give the members of groups with a role that role.

    A person's own role counts before those of their groups. Among these, the highest counts.
    """
    session.flush()
    team = RoleGrant.team_id == session.settings.team_id
    groups = session.scalars(select(RoleGrant).where(team, is_group_grant())).all()
    granted = session.scalars(select(RoleGrant).where(team, ~is_group_grant())).all()
    own = {grant.user_id for grant in granted if grant.via is None}
    best: dict[str, tuple[int, RoleGrant]] = {}
    for group in groups:
        known = members.get(group.user_id)
        if known is not None:
            users = known
        else:
            users = [grant.user_id for grant in granted if grant.via == group.user_id]
        for user in users:
            rank = RANKS.index(group.role)
            if user not in own and rank > best.get(user, (-1, group))[0]:
                best[user] = rank, group
    inherited = {grant.user_id: grant for grant in granted if grant.via is not None}
    for user in inherited.keys() - best.keys():
        session.delete(inherited[user])
    for user, (_, group) in best.items():
        row = inherited.get(user) or RoleGrant(team_id=session.settings.team_id, user_id=user)
        row.role, row.granted_by, row.via = group.role, group.granted_by, group.user_id
        session.add(row)
    session.flush()


def record_refusal(session: Transaction, user_id: str, what: str) -> None:
    """Write to the audit log that a person's role did not allow what they tried."""
    record(session, user_id, "attempt.refused", mask(what)[:80], clock.now(), {})


def require(session: Transaction, user_id: str, needed: str, deed: str) -> None:
    """Raise unless a person's role allows an action.

    `user_id`: Slack user id, or `OPERATOR`.
    """
    role = role_of(session, user_id)
    if allows(role, needed):
        return
    people = holders(session, needed)[:MAX_NAMED] if needed == "approver" else []
    # Four eyes: the next step is a colleague, not a higher role.
    sentence = (
        gettext("Your role is {role}; to {deed} you need {needed}. Ask somebody who has that role.")
        if people
        else gettext(
            "Your role is {role}; to {deed} you need {needed}. An admin can grant it with "
            "`/retention role`."
        )
    )
    message = sentence.format(role=role, deed=deed, needed=needed)
    raise NotAllowed(message, people=people, needed=needed)
