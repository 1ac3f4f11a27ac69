"""`recommend`: what one customer would like next."""

from datetime import datetime

import click

from bot.commands.tree import CUSTOMER, MOMENT, Call, choice, command, request, whole
from bot.customers import customer as known
from workers.requests import Recommend


@command("recommend", request=Recommend, private=True)
@click.argument("customer", type=CUSTOMER)
@click.option("--k", type=whole(1, 100), default=10, metavar="N", help="How many products.")
@click.option(
    "--policy",
    type=choice("repeat", "new", "both"),
    help="What they bought before, what they never bought, or both; by default as the policy file says.",
)
@click.option(
    "--as-of", type=MOMENT, metavar="DATE", help="As the data stood then; by default now."
)
def COMMAND(
    call: Call, customer: str, k: int, policy: str | None, as_of: datetime | None
) -> Recommend:
    """What this customer would like next, and why. Give an id, a pseudonym or an e-mail address."""
    return request(Recommend, **known(call.services, customer), k=k, policy=policy, as_of=as_of)
