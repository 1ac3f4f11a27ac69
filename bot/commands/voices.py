"""`voices`: what customers wrote about, and names for the themes."""

from datetime import datetime

import click

from bot.commands.parameters import DAY_OR_TIME, integer, option
from bot.commands.tree import Answer, Call, group, request
from retention.text import gettext
from retention.texts import theme_store
from workers.job_requests import Voices

COMMAND = group("voices", default="show")


@COMMAND.command(
    "show",
    request=Voices,
    help=gettext("The themes of the last seven days: counts, revenue at risk, and quotes."),
)
@option("--since", gettext("The first day; by default seven days ago."), DAY_OR_TIME, "DATE")
def show(call: Call, since: datetime | None) -> Voices:
    """Queue the themes of the texts since a day."""
    return request(Voices, since=since)


@COMMAND.command(
    "rename",
    role="analyst",
    help=gettext('Give a theme your own name; "" takes its own words back.'),
)
@click.argument("theme", type=integer())
@click.argument("name", nargs=-1, required=True)
def rename(call: Call, theme: int, name: tuple[str, ...]) -> Answer:
    """Rename a theme."""
    with call.database.transaction() as session:
        renamed = theme_store.rename(session, theme, " ".join(name), call.user)
    return Answer("voices/renamed", renamed)
