"""`help`: list the commands, generated from the tree."""

import click

from bot.commands.catalogue import as_dict, entries
from bot.commands.tree import Answer, Call, command, root
from retention.errors import BadInput
from retention.text import gettext
from workers import roles


@command("help", help=gettext("What you may do here; with a command's name, its options."))
@click.argument("words", nargs=-1, metavar="[COMMAND]")
def COMMAND(call: Call, words: tuple[str, ...]) -> Answer:
    """List the person's commands, or explain one."""
    with call.services.database.reading() as session:
        role = roles.role_of(session, call.services.settings, call.user)
    if words:
        return _explain(call, [word.lower() for word in words], role)
    commands = [as_dict(entry) for entry in entries(root(), where=call.surface, role=role)]
    return Answer("bot/help", {"role": role, "commands": commands})


def _explain(call: Call, words: list[str], role: str) -> Answer:
    matches = [
        entry
        for entry in entries(root(), where=call.surface)
        if list(entry.path[: len(words)]) == words
    ]
    if not matches:
        raise BadInput(
            gettext(
                "There is no command {words!r}; see `/retention help` for those there are."
            ).format(words=" ".join(words))
        )
    # A group shows what the person may do; a command that was named is always explained.
    shown = [entry for entry in matches if roles.allows(role, entry.role)] or matches
    return Answer(
        "bot/help_command", {"role": role, "commands": [as_dict(entry) for entry in shown]}
    )
