"""`cohort`: show retention by month of first purchase."""

from datetime import datetime

import click

from bot.commands.tree import AS_OF, AUDIENCE, WHERE, Call, command, integer, request
from retention.text import gettext
from workers.audiences import check_condition, check_exists
from workers.requests import Cohort


@command(
    "cohort",
    request=Cohort,
    help=gettext(
        "Retention by cohort: of those who first bought in a month, the share that "
        "bought 1, 2, 3 … months later."
    ),
)
@click.option(
    "--months",
    type=integer(2, 24),
    default=12,
    metavar="N",
    help=gettext("How many months of cohorts, the newest, and for how long each is followed."),
)
@AS_OF
@AUDIENCE
@WHERE
def COMMAND(
    call: Call,
    months: int,
    as_of: datetime | None,
    audience: str | None = None,
    where: str | None = None,
) -> Cohort:
    """Queue the cohort retention report."""
    audience = check_exists(call.services.database, call.services.settings, audience)
    return request(
        Cohort, months=months, as_of=as_of, audience=audience, where=check_condition(where)
    )
