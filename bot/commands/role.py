"""`role`: list and grant roles."""

import re
from typing import Any

import click
from sqlalchemy import select

from bot.commands.tree import PERSON, Answer, Call, choice, group
from retention import clock
from retention.db.insert import upsert
from retention.db.tables import Audit, RoleGrant
from retention.errors import BadInput
from retention.text import gettext
from workers.roles import GROUP_PREFIX, OPERATOR, RANKS, grant_to_members


@group("role", default="list", help=gettext("Who may do what."))
def COMMAND() -> None: ...


@COMMAND.command("list", role="admin", help=gettext("Who has which role."))
def listing(call: Call) -> Answer:
    """List the roles."""
    settings = call.services.settings
    with call.services.database.reading() as session:
        granted = session.scalars(
            select(RoleGrant)
            .where(RoleGrant.team_id == settings.team_id, RoleGrant.via.is_(None))
            .order_by(RoleGrant.user_id)
        ).all()
    return Answer(
        "bot/roles",
        {
            "default": settings.default_role,
            "ranks": RANKS,
            "admins": sorted(settings.admin_ids),
            "roles": [
                {"user": grant.user_id, "role": grant.role, "granted_by": grant.granted_by}
                for grant in granted
            ],
        },
    )


class _Grantee(click.ParamType):
    """A person, or a Slack user group: ``<!subteam^S123|@crm>`` or its id."""

    name = "person"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        group = re.fullmatch(r"<!subteam\^(S[A-Z0-9]+)(?:\|[^>]*)?>|(S[A-Z0-9]+)", str(value))
        return (group[1] or group[2]) if group else PERSON.convert(value, param, ctx)


@COMMAND.command(
    "grant",
    role="admin",
    help=gettext("Give a person or a user group a role. It replaces the role they have."),
)
@click.argument("person", type=_Grantee(), metavar="PERSON|GROUP")
@click.argument("role", type=choice(*RANKS), metavar="|".join(RANKS))
def grant(call: Call, person: str, role: str) -> Answer:
    """Give a person a role."""
    settings = call.services.settings
    if person in settings.admin_ids:
        raise BadInput(
            gettext("{person} is an admin by RETENTION_ADMINS; change it there.").format(
                person=person
            )
        )
    if person in (call.user, OPERATOR):
        raise BadInput(gettext("You cannot change your own role; ask another admin."))
    is_group = person.startswith(GROUP_PREFIX)
    members = call.services.groups.all_members(person) if is_group else {}
    with call.services.database.transaction() as session:
        if call.first_time(session):
            key = {"team_id": settings.team_id, "user_id": person}
            upsert(
                session,
                RoleGrant,
                key,
                role=role,
                granted_by=call.user,
                granted_at=clock.now(),
                via=None,
            )
            grant_to_members(session, settings, members)
            session.add(
                Audit(
                    team_id=settings.team_id,
                    actor=call.user,
                    action="role.grant",
                    subject=person,
                    details={"role": role},
                )
            )
    return Answer(
        "bot/role_granted",
        {
            "user": person,
            "role": role,
            "granted_by": call.user,
            "members": len(members[person]) if is_group else None,
        },
    )
