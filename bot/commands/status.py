"""`status`: show models, data, queue and processes."""

from bot.commands.tree import Answer, Call, command
from bot.health import overview
from retention.text import gettext
from workers import roles


@command("status", help=gettext("Models, data, queue and processes at a glance."))
def COMMAND(call: Call) -> Answer:
    """Show models, data, queue and processes."""
    services = call.services
    with services.database.reading() as session:
        role = roles.role_of(session, services.settings, call.user)
        return Answer(
            "bot/status", {"role": role, **overview(session, services.settings, services.database)}
        )
