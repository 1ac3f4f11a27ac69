"""`status`: show models, data, queue and processes."""

from bot.commands.tree import Answer, Call, command
from bot.http.health import overview
from workers import roles


@command("status")
def COMMAND(call: Call) -> Answer:
    """Show models, data, queue and processes."""
    with call.database.reading() as session:
        role = roles.role_of(session, call.user)
        return Answer("bot/status", {"role": role, **overview(session, call.database)})
