"""`sales`: sum up the orders of some days."""

from datetime import datetime, timedelta

import click

from bot.commands.tree import AUDIENCE, DAY_OR_TIME, WHERE, Call, command, request
from retention import clock
from retention.errors import BadInput
from retention.text import gettext
from workers.audiences import check_condition, check_exists
from workers.requests import Sales

MAX_DAYS = 3660


@command(
    "sales",
    request=Sales,
    help=gettext(
        "Sales, orders, customers and new customers of some days, against as many days before."
    ),
)
@click.option(
    "--from",
    "first",
    type=DAY_OR_TIME,
    metavar="DATE",
    help=gettext("The first day; by default six days before the last."),
)
@click.option(
    "--to",
    "last",
    type=DAY_OR_TIME,
    metavar="DATE",
    help=gettext("The last day, by default yesterday."),
)
@AUDIENCE
@WHERE
def COMMAND(
    call: Call,
    first: datetime | None,
    last: datetime | None,
    audience: str | None = None,
    where: str | None = None,
) -> Sales:
    """Queue the sum of a period's orders."""
    services = call.services
    zone = services.settings.zone
    today = clock.now().astimezone(zone).date()
    end = last.astimezone(zone).date() if last else today - timedelta(days=1)
    start = first.astimezone(zone).date() if first else end - timedelta(days=6)
    if start > min(end, today):
        raise BadInput(
            gettext("--from is {start}, but it must not be after {end}.").format(
                start=start, end=min(end, today)
            )
        )
    if (end - start).days >= MAX_DAYS:
        raise BadInput(
            gettext("--from is {start}; give at most {most:,} days.").format(
                start=start, most=MAX_DAYS
            )
        )
    audience = check_exists(services.database, services.settings, audience)
    return request(Sales, first=start, last=end, audience=audience, where=check_condition(where))
