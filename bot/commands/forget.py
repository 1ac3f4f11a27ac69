"""`forget`: erase a customer."""

import click

from bot.commands.tree import (
    CUSTOMER,
    SLACK,
    Answer,
    Call,
    TerminalOption,
    command,
    find_customer,
    request,
)
from retention.errors import BadInput
from retention.text import gettext
from workers.requests import Forget


@command(
    "forget",
    request=Forget,
    private=True,
    help=gettext(
        "Erase a customer everywhere, for good; counts stay, and no later file brings them back."
    ),
)
@click.argument("customer", type=CUSTOMER)
@click.option(
    "--yes", is_flag=True, cls=TerminalOption, help=gettext("Yes, for good: it cannot be undone.")
)
def COMMAND(call: Call, customer: str, yes: bool = False) -> Forget | Answer:
    """Erase a customer everywhere, after a confirmation."""
    match = find_customer(call.services, customer)
    if call.surface == SLACK:
        return Answer("bot/forget", {"customer": match["customer_id"]})
    if not yes:
        raise BadInput(
            gettext("Erasing {customer_id!r} cannot be undone; say it again with --yes.").format(
                customer_id=match["customer_id"]
            )
        )
    return request(Forget, customer_id=match["customer_id"])
