"""`recommend`: suggest items for one customer."""

from typing import Any

import click

from bot.commands.parameters import AS_OF, CUSTOMER, choice, list_length, option
from bot.commands.tree import Call, command, request
from retention.text import gettext
from workers.requests import Recommend


@command("recommend", request=Recommend, private=True)
@click.argument("customer", type=CUSTOMER)
@list_length("--k", 100, gettext("How many products."))
@option(
    "--policy",
    gettext(
        "What they bought before, what they never bought, or both; by default as the "
        "policy file says."
    ),
    choice("repeat", "new", "both"),
)
@AS_OF
def COMMAND(call: Call, customer: str, **fields: Any) -> Recommend:
    """Queue recommendations for a customer."""
    return request(Recommend, **call.find_customer(customer), **fields)
