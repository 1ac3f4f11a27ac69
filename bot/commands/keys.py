"""`keys`: make, list and revoke keys of the read API."""

import click

from bot.commands.tree import Answer, Call, fields_of, group
from retention.connect.readers import api_keys
from retention.text import gettext


@group("keys", default="list")
def COMMAND() -> None: ...


@COMMAND.command(
    "add", role="admin", help=gettext("Make a key for another system. It is shown once.")
)
@click.argument("name")
def add(call: Call, name: str) -> Answer:
    """Make a key."""
    with call.database.transaction() as session:
        key = api_keys.add(session, name.lower(), call.user)
    return Answer("bot/api_key", {"name": name.lower(), "key": key})


@COMMAND.command("list", role="admin", help=gettext("All keys."))
def listing(call: Call) -> Answer:
    """List the keys."""
    with call.database.reading() as session:
        found = api_keys.keys(session)
    shown = ("name", "id", "created_by", "created_at", "revoked_at")
    return Answer("bot/api_keys", {"keys": [fields_of(key, *shown) for key in found]})


@COMMAND.command(
    "revoke", role="admin", help=gettext("Revoke a key. It is refused from the next call on.")
)
@click.argument("name")
def revoke(call: Call, name: str) -> Answer:
    """Revoke a key."""
    with call.database.transaction() as session:
        key = api_keys.revoke(session, name.lower(), call.user)
        return Answer("bot/api_key_revoked", fields_of(key, "name", "id"))
