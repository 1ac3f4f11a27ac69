"""`audience`: save, list, show and delete named groups of customers."""

from datetime import datetime
from pathlib import Path

import click

from bot.commands.parameters import AS_OF, TO_READ, WHERE, switch
from bot.commands.tree import SLACK, TERMINAL, Answer, Call, group, request
from retention.audiences import store
from retention.audiences.plain import understand
from retention.text import gettext
from workers.customers.audience_filter import check_condition, check_exists
from workers.data.imports import import_list
from workers.job_requests import AudienceSave, AudienceShow

COMMAND = group("audience", default="list")
EXCLUDE = switch(
    "--exclude", gettext("Always leave these customers out of campaigns, such as VIPs and staff.")
)


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
@EXCLUDE
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


@COMMAND.command(
    "import",
    role="analyst",
    surfaces=TERMINAL,
    help=gettext(
        "Make an audience of the customers in a file: an id or an e-mail address on each line, or "
        "a table with the column customer_id or email. Another file replaces the list."
    ),
)
@click.argument("name")
@click.argument("file", type=TO_READ)
@EXCLUDE
def import_file(call: Call, name: str, file: Path, exclude: bool) -> Answer:
    """Import a static list as an audience."""
    report, audience = import_list(
        call.lake, call.database, name, file, call.user, is_exclusion=exclude
    )
    return Answer("audience/imported", report.as_dict() | store.summary(audience))


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
