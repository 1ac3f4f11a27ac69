"""`ask`: understand a sentence as a command, and run nothing."""

import click

from bot.commands.tree import Answer, Call, command
from retention import clock
from retention.text import gettext


@command(
    "ask",
    role="analyst",
    help=gettext(
        "Ask in a sentence, in English or Chinese; see the command for it.\n\nIt runs nothing. In "
        "Slack, mention the bot or write to it: reading commands run at once, and a change waits "
        "for your click."
    ),
)
@click.argument("sentence", nargs=-1, required=True)
def COMMAND(call: Call, sentence: tuple[str, ...]) -> Answer:
    """Show the command for a sentence."""
    from bot.ask import understand
    from bot.ask.vocabulary import of_shop

    today = clock.now().astimezone(call.settings.zone).date()
    understanding = understand(" ".join(sentence), today, shop=of_shop(call.services))
    return Answer("bot/ask", understanding.as_dict())
