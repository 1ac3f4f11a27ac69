"""`score`: one customer's risk, reasons and value."""

from datetime import datetime

import click

from bot.commands.tree import CUSTOMER, MOMENT, Call, command, request
from bot.customers import customer as known
from workers.requests import Score


@command("score", request=Score, private=True)
@click.argument("customer", type=CUSTOMER)
@click.option(
    "--as-of", type=MOMENT, metavar="DATE", help="As the data stood then; by default now."
)
@click.option(
    "--explain",
    is_flag=True,
    help="With a second opinion on the reasons (LIME) and how far to trust it.",
)
def COMMAND(call: Call, customer: str, as_of: datetime | None, explain: bool) -> Score:
    """One customer: risk, reasons, value, what they would like. Give an id, a pseudonym or an e-mail address."""
    return request(Score, **known(call.services, customer), as_of=as_of, explain=explain)
