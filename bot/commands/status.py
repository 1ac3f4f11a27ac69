"""`status`: models, data, queue and processes at a glance."""

from bot.commands.tree import Answer, Call, command
from bot.health import overview
from workers import roles


@command("status")
def COMMAND(call: Call) -> Answer:
    """Models, data, queue and processes at a glance."""
    services = call.services
    with services.database.reading() as session:
        role = roles.role_of(session, services.settings, call.user)
        return Answer("bot/status", {"role": role, **overview(session, services.settings)})
