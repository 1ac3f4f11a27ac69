"""`help`: what one may do here, made from the tree."""

import click

from bot.commands.catalogue import as_dict, entries
from bot.commands.tree import Answer, Call, command, root
from retention.errors import BadInput
from retention.text import gettext
from workers import roles


@command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]")
def COMMAND(call: Call, words: tuple[str, ...]) -> Answer:
    """What you may do here; with a command's name, its options."""
    with call.services.database.reading() as session:
        role = roles.role_of(session, call.services.settings, call.user)
    if words:
        return _one_command(call, [word.lower() for word in words], role)
    mine = [as_dict(entry) for entry in entries(root(), where=call.surface, role=role)]
    return Answer("bot/help", {"role": role, "commands": mine})


def _one_command(call: Call, words: list[str], role: str) -> Answer:
    found = [
        entry
        for entry in entries(root(), where=call.surface)
        if list(entry.path[: len(words)]) == words
    ]
    if not found:
        raise BadInput(
            gettext(
                "There is no command {words!r}; see `/retention help` for those there are."
            ).format(words=" ".join(words))
        )
    return Answer(
        "bot/help_command", {"role": role, "commands": [as_dict(entry) for entry in found]}
    )
