"""`identity`: who is one customer: link, review, show, accept, reject, undo."""

from pathlib import Path
from typing import Any

import click

from bot.commands.tree import (
    CUSTOMER,
    TERMINAL,
    TO_WRITE,
    Answer,
    Call,
    TerminalOption,
    between,
    group,
)
from bot.customers import customer as known

LINKS = click.argument("links", nargs=-1, required=True, metavar="LINK…")


@group(
    "identity", default="status", surfaces=TERMINAL, help="Who is one customer: link, review, undo."
)
def COMMAND() -> None: ...


@COMMAND.command("status", role="analyst", surfaces=TERMINAL)
def status(call: Call) -> Answer:
    """How many ids are linked, by what, and which keys tell nobody apart."""
    from retention.lake.identity import load_rules
    from retention.lake.identity import review as reviews

    services = call.services
    with services.database.reading() as session:
        told = reviews.status(
            _lake(call), session, services.settings, load_rules(services.settings)
        )
    return Answer("identity/status", told)


@COMMAND.command("link", role="admin", surfaces=TERMINAL)
@click.option(
    "--threshold", type=between(0.5, 1), metavar="P", help="Accept likeness from here on."
)
@click.option(
    "--review", type=between(0.01, 1), metavar="P", help="Leave it to a person from here on."
)
@click.option("--exact", is_flag=True, help="By shared keys alone, without likeness.")
def link(call: Call, threshold: float | None, review: float | None, exact: bool) -> Answer:
    """Link by shared keys, then by likeness; what is unsure is left for `identity review`."""
    from retention.lake.identity import review as reviews

    services = call.services
    told = reviews.link(
        _lake(call),
        services.database,
        services.settings,
        by=call.user,
        accept=threshold,
        review=review,
        likeness=not exact,
        progress=call.progress,
    )
    return Answer("identity/link", told)


@COMMAND.command("review", role="analyst", surfaces=TERMINAL)
@click.option(
    "--csv",
    "path",
    type=TO_WRITE,
    cls=TerminalOption,
    metavar="FILE",
    help="Write all of them to a file.",
)
def review(call: Call, path: Path | None) -> Answer:
    """The pairs that a person has to decide on, with what speaks for them."""
    from retention.lake.identity import review as reviews

    pairs = reviews.review(_lake(call))
    if path:
        reviews.write_csv(pairs, path)
    return Answer("identity/review", {"pairs": pairs, "csv": str(path) if path else None})


@COMMAND.command("show", role="admin", surfaces=TERMINAL)
@click.argument("customer", type=CUSTOMER)
def show(call: Call, customer: str) -> Answer:
    """The ids that are one customer, and the links that make them so. Give any of their ids, or an e-mail address."""
    from retention.lake.identity import review as reviews

    named = known(call.services, customer)
    told = reviews.customer_links(_lake(call), str(named["customer_id"]))
    return Answer("identity/show", told)


@COMMAND.command("accept", role="admin", surfaces=TERMINAL)
@LINKS
def accept(call: Call, links: tuple[str, ...]) -> Answer:
    """They are one customer."""
    return _decide(call, links, "accepted")


@COMMAND.command("reject", role="admin", surfaces=TERMINAL)
@LINKS
def reject(call: Call, links: tuple[str, ...]) -> Answer:
    """They are not one customer; nothing links them by itself any more."""
    return _decide(call, links, "rejected")


@COMMAND.command("undo", role="admin", surfaces=TERMINAL)
@LINKS
def undo(call: Call, links: tuple[str, ...]) -> Answer:
    """Take a merge back; every event is its own customer's again."""
    return _decide(call, links, "undone")


def _decide(call: Call, links: tuple[str, ...], state: str) -> Answer:
    from retention.lake.identity import review as reviews

    services = call.services
    told = reviews.decide(
        _lake(call), services.database, services.settings, links, state, by=call.user
    )
    return Answer("identity/decided", told.as_dict())


def _lake(call: Call) -> Any:
    from retention.lake import Lake

    return Lake.open(call.services.settings)
