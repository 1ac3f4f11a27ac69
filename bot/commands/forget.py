"""`forget`: erase a customer."""

import click

from bot.commands.parameters import CUSTOMER, switch
from bot.commands.tree import SLACK, Answer, Call, TerminalOption, command, request
from retention.errors import BadInput
from retention.text import gettext
from workers.requests import Forget


@command("forget", request=Forget, private=True)
@click.argument("customer", type=CUSTOMER)
@switch("--yes", gettext("Yes, for good: it cannot be undone."), cls=TerminalOption)
def COMMAND(call: Call, customer: str, yes: bool = False) -> Forget | Answer:
    """Erase a customer everywhere, after a confirmation."""
    match = call.find_customer(customer)
    if call.surface == SLACK:
        return Answer("bot/forget", {"customer": match["customer_id"]})
    if not yes:
        message = gettext("Erasing {customer_id!r} cannot be undone; say it again with --yes.")
        raise BadInput(message.format(customer_id=match["customer_id"]))
    return request(Forget, customer_id=match["customer_id"])
