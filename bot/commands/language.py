"""`language`: choose the language of a person, a channel or the workspace."""

import difflib

import click

from bot.commands.parameters import choice, option
from bot.commands.tree import Answer, Call, command
from retention.errors import BadInput
from retention.text import PSEUDO, available_languages, gettext, language, set_language
from workers import languages, user_roles

# The language's own name first: it is shown, and its readers recognise it.
NAMES = {
    "en": ("english", "英语", "英文"),
    "zh": ("中文", "chinese", "汉语", "简体中文", "mandarin", "zh-cn", "zh-hans"),
}
# Who may choose for whom.
ROLES = {"me": "viewer", "channel": "analyst", "workspace": "admin"}


@command("language", role="viewer")
@click.argument("name", required=False, metavar="[LANGUAGE]")
@option(
    "--for",
    gettext("For you, for this channel (analysts) or for the workspace (admins)."),
    choice(*ROLES),
    into="scope",
    default="me",
)
def COMMAND(call: Call, name: str | None, scope: str) -> Answer:
    """Show or choose a language."""
    available = available_languages()
    if name is None:
        with call.database.reading() as session:
            chosen = languages.of(session, call.user, call.channel or "")
        return _answer(chosen or language(), available, scope=None)
    # The pseudo-locale is for developers: it is accepted, but not offered.
    offered = tuple(one for one in available if one != PSEUDO)
    codes = {one.lower(): one for one in available}
    codes |= {each: one for one in offered for each in NAMES.get(one, ())}
    matching = codes.get(name.strip().lower())
    if matching is None:
        nearest = [codes[one] for one in difflib.get_close_matches(name.lower(), codes, 1)]
        if nearest:
            message = gettext("There is no language {name!r}; did you mean {nearest}?")
        else:
            message = gettext("There is no language {name!r}; there are {available}.")
        shown = _shown(nearest[0]) if nearest else ""
        known = ", ".join(map(_shown, offered))
        raise BadInput(message.format(name=name, nearest=shown, available=known))
    key = {"me": call.user, "channel": call.channel, "workspace": languages.WORKSPACE}[scope]
    if key is None:
        raise BadInput(
            gettext("--for is channel, but a terminal has no channel; type it in Slack.")
        )
    with call.database.transaction() as session:
        deed = gettext("choose the language of others")
        user_roles.require(session, call.user, ROLES[scope], deed)
        if call.first_time(session):
            languages.choose(session, key, matching)
        if call.channel:  # the reply already is in the person's new language
            set_language(languages.of(session, call.user, call.channel))
    return _answer(matching, available, scope=scope)


def _shown(code: str) -> str:
    """Return a language as people write it, with its code."""
    return f"{NAMES[code][0].title()} ({code})" if code in NAMES else code


def _answer(chosen: str, available: tuple[str, ...], scope: str | None) -> Answer:
    offered = [one for one in available if one != PSEUDO]
    values = {
        "language": chosen,
        "name": _shown(chosen),
        "available": offered,
        "offered": [_shown(one) for one in offered],
        "scope": scope,
    }
    return Answer("bot/language", values)
