"""`score`: show one customer's risk, reasons and value."""

from typing import Any

import click

from bot.commands.parameters import AS_OF, CUSTOMER, switch
from bot.commands.tree import Call, command, request
from retention.text import gettext
from workers.requests import Score


@command("score", request=Score, private=True)
@click.argument("customer", type=CUSTOMER)
@AS_OF
@switch(
    "--explain", gettext("With a second opinion on the reasons (LIME) and how far to trust it.")
)
def COMMAND(call: Call, customer: str, **fields: Any) -> Score:
    """Queue a customer's score."""
    return request(Score, **call.find_customer(customer), **fields)
