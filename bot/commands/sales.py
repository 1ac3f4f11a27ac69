"""`sales`: sum up the orders of some days."""

from datetime import datetime, timedelta
from typing import Any

from bot.commands.parameters import AUDIENCE, DAY_OR_TIME, WHERE, option, scoped_request
from bot.commands.tree import Call, command
from retention import clock
from retention.errors import BadInput
from retention.text import gettext
from workers.requests import Sales

MAX_DAYS = 3660


@command("sales", request=Sales)
@option(
    "--from",
    gettext("The first day; by default six days before the last."),
    DAY_OR_TIME,
    "DATE",
    into="first",
)
@option("--to", gettext("The last day, by default yesterday."), DAY_OR_TIME, "DATE", into="last")
@AUDIENCE
@WHERE
def COMMAND(call: Call, first: datetime | None, last: datetime | None, **scope: Any) -> Sales:
    """Queue the sum of a period's orders."""
    zone = call.settings.zone
    today = clock.now().astimezone(zone).date()
    end = last.astimezone(zone).date() if last else today - timedelta(days=1)
    start = first.astimezone(zone).date() if first else end - timedelta(days=6)
    if start > min(end, today):
        message = gettext("--from is {start}, but it must not be after {end}.")
        raise BadInput(message.format(start=start, end=min(end, today)))
    if (end - start).days >= MAX_DAYS:
        message = gettext("--from is {start}; give at most {most:,} days.")
        raise BadInput(message.format(start=start, most=MAX_DAYS))
    return scoped_request(call, Sales, first=start, last=end, **scope)
