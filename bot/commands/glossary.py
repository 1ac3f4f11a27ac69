"""`glossary`: what the desk's words mean."""

import click

from bot import glossary
from bot.commands.tree import Answer, Call, command
from retention.text import gettext


@command(
    "glossary",
    role="viewer",
    help=gettext("What the desk's words mean. Without a word, all of them."),
)
@click.argument("word", nargs=-1)
def COMMAND(call: Call, word: tuple[str, ...]) -> Answer:
    """Explain a word, or all words."""
    return Answer("bot/glossary", {"terms": glossary.chosen(" ".join(word))})
