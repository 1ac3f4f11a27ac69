"""`federate`: train one churn model with other desks, without moving rows."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from bot.commands.parameters import DURATION, TO_READ, integer, number_between, option
from bot.commands.tree import Answer, Call, group
from retention.lake.coverage import training_cutoff
from retention.registry import champion
from retention.registry.churn_definition import ChurnDefinition, ensure_definition
from retention.text import gettext

COMMAND = group("federate")
_ADDRESS = click.argument("address", metavar="HOST:PORT")
_SECRET = option(
    "--secret",
    gettext("A file with the word that all desks share."),
    TO_READ,
    "FILE",
    required=True,
)
_WAIT = option("--wait", gettext("How long to wait for the others."), DURATION, default="10m")


@COMMAND.command(
    "serve", role="admin", help=gettext("Lead a training. The server sees sums, and no desk's own.")
)
@_ADDRESS
@_SECRET
@option("--desks", gettext("How many desks to wait for."), integer(3, 64), "N", default=3)
@option(
    "--epsilon",
    gettext("Train with noise, for this privacy loss: less is more private, and less accurate."),
    number_between(0.1, 10),
    "E",
)
@_WAIT
@option(
    "--certificate",
    gettext("For other machines, three times: authority, certificate, key (PEM)."),
    TO_READ,
    "FILE",
    multiple=True,
    into="certificates",
)
def serve(
    call: Call,
    address: str,
    secret: Path,
    desks: int,
    epsilon: float | None,
    wait: float,
    certificates: tuple[Path, ...],
) -> Answer:
    """Lead the training of other desks."""
    from retention.federation import process, terms

    features = terms.definitions(_definition(call).window)
    plan = process.shared_plan(address, secret, list(certificates), features, wait)
    return Answer("federate", process.serve(plan, desks, epsilon, call.progress))


@COMMAND.command(
    "join",
    role="admin",
    help=gettext(
        "Train with the desks of other shops and store the model as a challenger: it is used if "
        "it is better on this shop's newest weeks."
    ),
)
@_ADDRESS
@_SECRET
@option(
    "--epsilon",
    gettext("Refuse a training without noise, and one with a larger privacy loss."),
    number_between(0.1, 10),
    "E",
)
@_WAIT
@option(
    "--certificate",
    gettext("The certificate of the server's authority (PEM)."),
    TO_READ,
    "FILE",
    multiple=True,
    into="certificates",
)
def join(
    call: Call,
    address: str,
    secret: Path,
    epsilon: float | None,
    wait: float,
    certificates: tuple[Path, ...],
) -> Answer:
    """Train a challenger with other desks."""
    from retention.federation import challenger, process, terms

    definition = _definition(call)
    features = terms.definitions(definition.window)
    plan = process.shared_plan(address, secret, list(certificates), features, wait)
    lake, moment = call.lake, call.lake.as_of(None, definition.horizon_days)
    cutoff = training_cutoff(lake, moment.at)
    request = challenger.request(cutoff, definition.window, call.user)
    with call.database.reading() as session:
        before = champion(session, "churn")

    def accept(loss: dict[str, Any]) -> None:
        with call.database.transaction() as session:
            challenger.accept(session, loss, epsilon, call.user)

    train = partial(process.join, plan, accept=accept, progress=call.progress)
    result = challenger.train(call.settings, lake, before, request, train, call.progress)
    with call.database.transaction() as session:
        challenger.store(session, result, call.user)
    data = {"models": [result.as_dict()], "untrained": [], "note": moment.note}
    return Answer("retrain", data)


def _definition(call: Call) -> ChurnDefinition:
    return ensure_definition(call.lake, call.database)
