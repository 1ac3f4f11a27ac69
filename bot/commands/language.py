"""`language`: choose the language of a person, a channel or the workspace."""

import difflib

import click

from bot.commands.tree import Answer, Call, choice, command
from retention.errors import BadInput
from retention.text import available_languages, gettext, language, set_language
from workers import languages, roles

# Who may choose for whom.
ROLES = {"me": "viewer", "channel": "analyst", "workspace": "admin"}


@command(
    "language",
    role="viewer",
    help=gettext("In which language the desk writes to you or to a channel."),
)
@click.argument("name", required=False, metavar="[LANGUAGE]")
@click.option(
    "--for",
    "scope",
    type=choice(*ROLES),
    default="me",
    help=gettext("For you, for this channel (analysts) or for the workspace (admins)."),
)
def COMMAND(call: Call, name: str | None, scope: str) -> Answer:
    """Show or choose a language."""
    settings, available = call.services.settings, available_languages()
    if name is None:
        with call.services.database.reading() as session:
            chosen = languages.of(session, settings, call.user, call.channel or "")
        return _answer(chosen or language(), available, scope=None)
    matching = next((one for one in available if one.lower() == name.lower()), None)
    if matching is None:
        nearest = difflib.get_close_matches(name, available, 1)
        message = (
            gettext("There is no language {name!r}; did you mean {nearest}?")
            if nearest
            else gettext("There is no language {name!r}; there are {available}.")
        )
        raise BadInput(
            message.format(name=name, nearest="".join(nearest), available=", ".join(available))
        )
    key = {"me": call.user, "channel": call.channel, "workspace": languages.WORKSPACE}[scope]
    if key is None:
        raise BadInput(
            gettext("--for is channel, but a terminal has no channel; type it in Slack.")
        )
    with call.services.database.transaction() as session:
        deed = gettext("choose the language of others")
        roles.require(session, settings, call.user, ROLES[scope], deed)
        if call.first_time(session):
            languages.choose(session, settings, key, matching)
        if call.channel:  # the reply already is in the person's new language
            set_language(languages.of(session, settings, call.user, call.channel))
    return _answer(matching, available, scope=scope)


def _answer(chosen: str, available: tuple[str, ...], scope: str | None) -> Answer:
    return Answer("bot/language", {"language": chosen, "available": available, "scope": scope})
