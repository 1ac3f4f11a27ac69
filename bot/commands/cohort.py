"""`cohort`: show retention by month of first purchase."""

from typing import Any

from bot.commands.parameters import AS_OF, AUDIENCE, WHERE, integer, option, scoped_request
from bot.commands.tree import Call, command
from retention.text import gettext
from workers.requests import Cohort


@command("cohort", request=Cohort)
@option(
    "--months",
    gettext("How many months of cohorts, the newest, and for how long each is followed."),
    integer(2, 24),
    "N",
    default=12,
)
@AS_OF
@AUDIENCE
@WHERE
def COMMAND(call: Call, **fields: Any) -> Cohort:
    """Queue the cohort retention report."""
    return scoped_request(call, Cohort, **fields)
