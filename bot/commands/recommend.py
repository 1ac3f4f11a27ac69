"""`recommend`: suggest items for one customer."""

from datetime import datetime

import click

from bot.commands.tree import (
    AS_OF,
    CUSTOMER,
    Call,
    choice,
    command,
    find_customer,
    integer,
    request,
)
from retention.text import gettext
from workers.requests import Recommend


@command(
    "recommend",
    request=Recommend,
    private=True,
    help=gettext(
        "What this customer would like next, and why. Give an id, a pseudonym, a name or an "
        "e-mail address."
    ),
)
@click.argument("customer", type=CUSTOMER)
@click.option(
    "--k", type=integer(1, 100), default=10, metavar="N", help=gettext("How many products.")
)
@click.option(
    "--policy",
    type=choice("repeat", "new", "both"),
    help=gettext(
        "What they bought before, what they never bought, or both; by default as the "
        "policy file says."
    ),
)
@AS_OF
def COMMAND(
    call: Call, customer: str, k: int, policy: str | None, as_of: datetime | None
) -> Recommend:
    """Queue recommendations for a customer."""
    return request(
        Recommend, **find_customer(call.services, customer), k=k, policy=policy, as_of=as_of
    )
