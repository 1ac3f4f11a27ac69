"""`glossary`: what the desk's words mean."""

import click

from bot.commands.tree import Answer, Call, command
from bot.slack import glossary


@command("glossary", role="viewer")
@click.argument("word", nargs=-1)
def COMMAND(call: Call, word: tuple[str, ...]) -> Answer:
    """Explain a word, or all words."""
    return Answer("bot/glossary", {"terms": glossary.chosen(" ".join(word))})
