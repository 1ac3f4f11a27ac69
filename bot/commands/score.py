"""`score`: show one customer's risk, reasons and value."""

from datetime import datetime

import click

from bot.commands.tree import AS_OF, CUSTOMER, Call, command, find_customer, request
from retention.text import gettext
from workers.requests import Score


@command(
    "score",
    request=Score,
    private=True,
    help=gettext(
        "One customer: risk, reasons, value, what they would like. Give an id, a "
        "pseudonym, a name or an e-mail address."
    ),
)
@click.argument("customer", type=CUSTOMER)
@AS_OF
@click.option(
    "--explain",
    is_flag=True,
    help=gettext("With a second opinion on the reasons (LIME) and how far to trust it."),
)
def COMMAND(call: Call, customer: str, as_of: datetime | None, explain: bool) -> Score:
    """Queue a customer's score."""
    return request(Score, **find_customer(call.services, customer), as_of=as_of, explain=explain)
