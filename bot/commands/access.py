"""`role`: who may do what. `keys`: with which keys other systems read scores."""

import re
from typing import Any

import click
from sqlalchemy import select

from bot.commands.parameters import PERSON, choice
from bot.commands.tree import Answer, Call, fields_of, group
from retention import clock
from retention.connect.readers import api_keys
from retention.db.audit import record
from retention.db.insert import upsert
from retention.db.tables import RoleGrant
from retention.errors import BadInput
from retention.text import gettext
from workers.user_roles import GROUP_PREFIX, OPERATOR, RANKS, grant_to_members

ROLE = group("role", default="list")


@ROLE.command("list", role="admin", help=gettext("Who has which role."))
def list_roles(call: Call) -> Answer:
    """List the roles."""
    settings = call.settings
    with call.database.reading() as session:
        granted = session.scalars(
            select(RoleGrant)
            .where(RoleGrant.team_id == settings.team_id, RoleGrant.via.is_(None))
            .order_by(RoleGrant.user_id)
        ).all()
    rows = [
        {"user": grant.user_id, "role": grant.role, "granted_by": grant.granted_by}
        for grant in granted
    ]
    admins = sorted(settings.admin_ids)
    data = {"default": settings.default_role, "ranks": RANKS, "admins": admins, "roles": rows}
    return Answer("bot/roles", data)


class _Grantee(click.ParamType):
    """A person, or a Slack user group: ``<!subteam^S123|@crm>`` or its id."""

    name = "person"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        group = re.fullmatch(r"<!subteam\^(S[A-Z0-9]+)(?:\|[^>]*)?>|(S[A-Z0-9]+)", str(value))
        return (group[1] or group[2]) if group else PERSON.convert(value, param, ctx)


@ROLE.command(
    "grant",
    role="admin",
    help=gettext("Give a person or a user group a role. It replaces the role they have."),
)
@click.argument("person", type=_Grantee(), metavar="PERSON|GROUP")
@click.argument("role", type=choice(*RANKS), metavar="|".join(RANKS))
def grant(call: Call, person: str, role: str) -> Answer:
    """Give a person a role."""
    settings = call.settings
    if person in settings.admin_ids:
        message = gettext("{person} is an admin by RETENTION_ADMINS; change it there.")
        raise BadInput(message.format(person=person))
    if person in (call.user, OPERATOR):
        raise BadInput(gettext("You cannot change your own role; ask another admin."))
    now = clock.now()
    is_group = person.startswith(GROUP_PREFIX)
    members = call.services.groups.all_members(person) if is_group else {}
    with call.database.transaction() as session:
        if call.first_time(session):
            key = {"team_id": settings.team_id, "user_id": person}
            values = {"role": role, "granted_by": call.user, "granted_at": now, "via": None}
            upsert(session, RoleGrant, key, **values)
            grant_to_members(session, members)
            record(session, call.user, "role.grant", person, now, {"role": role})
    number = len(members[person]) if is_group else None
    data = {"user": person, "role": role, "granted_by": call.user, "members": number}
    return Answer("bot/role_granted", data)


KEYS = group("keys", default="list")


@KEYS.command("add", role="admin", help=gettext("Make a key for another system. It is shown once."))
@click.argument("name")
def add(call: Call, name: str) -> Answer:
    """Make a key."""
    with call.database.transaction() as session:
        key = api_keys.add(session, name.lower(), call.user)
    return Answer("bot/api_key", {"name": name.lower(), "key": key})


@KEYS.command("list", role="admin", help=gettext("All keys."))
def list_keys(call: Call) -> Answer:
    """List the keys."""
    with call.database.reading() as session:
        found = api_keys.keys(session)
    shown = ("name", "id", "created_by", "created_at", "revoked_at")
    return Answer("bot/api_keys", {"keys": [fields_of(key, *shown) for key in found]})


@KEYS.command(
    "revoke", role="admin", help=gettext("Revoke a key. It is refused from the next call on.")
)
@click.argument("name")
def revoke(call: Call, name: str) -> Answer:
    """Revoke a key."""
    with call.database.transaction() as session:
        key = api_keys.revoke(session, name.lower(), call.user)
        return Answer("bot/api_key_revoked", fields_of(key, "name", "id"))
