"""`customers`: count customers, and list the first of them."""

from datetime import datetime
from typing import Literal

import click

from bot.commands.tree import AS_OF, AUDIENCE, WHERE, Call, choice, command, integer, request
from retention.text import gettext
from workers.audiences import check_condition, check_exists
from workers.requests import Customers


@command(
    "customers",
    request=Customers,
    help=gettext("How many customers there are, and who spent most. At risk or not."),
)
@click.option(
    "--order",
    type=choice("spent", "orders", "newest"),
    default="spent",
    help=gettext("Who comes first: who spent most, ordered most often, or came last."),
)
@click.option(
    "--top", type=integer(1, 24), default=10, metavar="N", help=gettext("List so many customers.")
)
@AS_OF
@AUDIENCE
@WHERE
def COMMAND(
    call: Call,
    order: Literal["spent", "orders", "newest"],
    top: int,
    as_of: datetime | None,
    audience: str | None = None,
    where: str | None = None,
) -> Customers:
    """Queue the count of all customers, or those of an audience or a condition."""
    audience = check_exists(call.services.database, call.services.settings, audience)
    return request(
        Customers,
        order=order,
        top=top,
        as_of=as_of,
        audience=audience,
        where=check_condition(where),
    )
