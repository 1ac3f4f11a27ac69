"""`audience`: save, list, show and delete named groups of customers."""

from datetime import datetime

import click

from bot.commands.parameters import AS_OF, WHERE, switch
from bot.commands.tree import SLACK, Answer, Call, group, request
from retention.audiences import store
from retention.audiences.plain import understand
from retention.text import gettext
from workers.customers.audience_filter import check_condition, check_exists
from workers.job_requests import AudienceSave, AudienceShow

COMMAND = group("audience", default="list")


@COMMAND.command(
    "save",
    request=AudienceSave,
    help=gettext(
        "Save customers under a name. Shows the number first. "
        'Example: audience save lapsing "risk >= medium and value > 200 and not bought category '
        'Coffee in 90d".'
    ),
)
@click.argument("name")
@click.argument("expression", nargs=-1, required=True)
@switch(
    "--exclude", gettext("Always leave these customers out of campaigns, such as VIPs and staff.")
)
@switch("--replace", gettext("Replace the audience of this name without asking."))
def save(
    call: Call, name: str, expression: tuple[str, ...], exclude: bool, replace: bool
) -> AudienceSave:
    """Queue the count of an expression; Slack asks before it saves."""
    return request(
        AudienceSave,
        name=store.check_name(name),
        expression=str(understand(join_words(expression))),
        exclude=exclude,
        preview=call.surface == SLACK and not replace,
        replace=replace,
    )


def join_words(words: tuple[str, ...]) -> str:
    """Join an expression that was typed without quotes around it.

    A word with blanks had quotes of its own.
    """
    if len(words) == 1:
        return words[0]
    return " ".join(f'"{word}"' if " " in word and '"' not in word else word for word in words)


@COMMAND.command("list", role="analyst", help=gettext("All audiences."))
def listing(call: Call) -> Answer:
    """List the audiences."""
    with call.database.reading() as session:
        audiences = store.summaries(session)
    return Answer("audience/list", {"audiences": audiences})


@COMMAND.command(
    "show", request=AudienceShow, help=gettext("One audience and how many customers it has now.")
)
@click.argument("name")
@AS_OF
@WHERE
def show(call: Call, name: str, as_of: datetime | None, where: str | None = None) -> AudienceShow:
    """Queue the count of a saved audience."""
    known = check_exists(call.database, name)
    return request(AudienceShow, name=known, as_of=as_of, where=check_condition(where))


@COMMAND.command("delete", role="analyst", help=gettext("Delete an audience, not its customers."))
@click.argument("name")
def delete(call: Call, name: str) -> Answer:
    """Delete an audience."""
    with call.database.transaction() as session:
        if call.first_time(session):
            audience = store.remove(session, name, call.user)
            name = audience.name
    return Answer("audience/deleted", {"name": name})
