"""`customers`: count customers, and list the first of them."""

from typing import Any

from bot.commands.parameters import (
    AS_OF,
    AUDIENCE,
    WHERE,
    choice,
    list_length,
    option,
    scoped_request,
)
from bot.commands.tree import Call, command
from retention.text import gettext
from workers.requests import Customers


@command("customers", request=Customers)
@option(
    "--order",
    gettext("Who comes first: who spent most, ordered most often, or came last."),
    choice("spent", "orders", "newest"),
    default="spent",
)
@list_length("--top", 24, gettext("List so many customers."))
@AS_OF
@AUDIENCE
@WHERE
def COMMAND(call: Call, **fields: Any) -> Customers:
    """Queue the count of all customers, or those of an audience or a condition."""
    return scoped_request(call, Customers, **fields)
