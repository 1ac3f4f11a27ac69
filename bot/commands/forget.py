"""`forget`: erase a customer."""

import click

from bot.commands.tree import CUSTOMER, SLACK, Answer, Call, TerminalOption, command, request
from bot.customers import customer as known
from retention.errors import BadInput
from retention.text import gettext
from workers.requests import Forget


@command("forget", request=Forget, private=True)
@click.argument("customer", type=CUSTOMER)
@click.option("--yes", is_flag=True, cls=TerminalOption, help="Yes, for good: it cannot be undone.")
def COMMAND(call: Call, customer: str, yes: bool = False) -> Forget | Answer:
    """Erase a customer everywhere, for good; counts stay, and no later file brings them back."""
    found = known(call.services, customer)
    if call.surface == SLACK:
        return Answer("bot/forget", {"customer": found["customer_id"]})
    if not yes:
        raise BadInput(
            gettext("Erasing {customer_id!r} cannot be undone; say it again with --yes.").format(
                customer_id=found["customer_id"]
            )
        )
    return request(Forget, customer_id=found["customer_id"])
