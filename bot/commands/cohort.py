"""`cohort`: who stays, by the month in which they first bought."""

from datetime import datetime

import click

from bot.commands.tree import MOMENT, Call, command, request, whole
from workers.requests import Cohort


@command("cohort", request=Cohort)
@click.option(
    "--months",
    type=whole(2, 24),
    default=12,
    metavar="N",
    help="How many months of cohorts, the newest, and for how long each is followed.",
)
@click.option(
    "--as-of", type=MOMENT, metavar="DATE", help="As the data stood then; by default now."
)
def COMMAND(call: Call, months: int, as_of: datetime | None) -> Cohort:
    """Retention by cohort: of those who first bought in a month, the share that bought 1, 2, 3 … months later."""
    return request(Cohort, months=months, as_of=as_of)
