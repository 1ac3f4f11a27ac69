"""`demo`: run the product in a browser without a Slack workspace."""

from bot.commands.tree import TERMINAL, Answer, Call, command
from retention.text import gettext


@command(
    "demo",
    role="admin",
    surfaces=TERMINAL,
    starts_processes=True,
    help=gettext(
        "Try everything in a browser: a real shop's year, a page that speaks Slack's "
        "protocol, a time machine."
    ),
)
def COMMAND(call: Call) -> Answer:
    """Run the playground."""
    from bot import playground

    playground.main(call.services.settings)
    return Answer("bot/stopped")
