"""`keys`: make, list and revoke keys of the read API."""

import click

from bot.commands.tree import TERMINAL, Answer, Call, group
from retention.connect import api_keys
from retention.text import gettext


@group(
    "keys",
    default="list",
    surfaces=TERMINAL,
    help=gettext("Keys with which other systems read scores."),
)
def COMMAND() -> None: ...


@COMMAND.command(
    "add",
    role="admin",
    surfaces=TERMINAL,
    help=gettext("Make a key for another system. It is shown once."),
)
@click.argument("name")
def add(call: Call, name: str) -> Answer:
    """Make a key."""
    services = call.services
    with services.database.transaction() as session:
        key = api_keys.add(session, services.settings, name.lower(), call.user)
    return Answer("bot/api_key", {"name": name.lower(), "key": key})


@COMMAND.command("list", role="admin", surfaces=TERMINAL, help=gettext("All keys."))
def listing(call: Call) -> Answer:
    """List the keys."""
    services = call.services
    with services.database.reading() as session:
        found = api_keys.keys(session, services.settings)
    return Answer(
        "bot/api_keys",
        {
            "keys": [
                {
                    "name": key.name,
                    "id": key.id,
                    "created_by": key.created_by,
                    "created_at": key.created_at.isoformat(),
                    "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
                }
                for key in found
            ]
        },
    )


@COMMAND.command(
    "revoke",
    role="admin",
    surfaces=TERMINAL,
    help=gettext("Revoke a key. It is refused from the next call on."),
)
@click.argument("name")
def revoke(call: Call, name: str) -> Answer:
    """Revoke a key."""
    services = call.services
    with services.database.transaction() as session:
        key = api_keys.revoke(session, services.settings, name.lower(), call.user)
        data = {"name": key.name, "id": key.id}
    return Answer("bot/api_key_revoked", data)
