"""`identity`: link, review and undo merges of customer ids."""

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
    find_customer,
    group,
    number_between,
)
from retention.text import gettext

LINKS = click.argument("links", nargs=-1, required=True, metavar="LINK…")


@group(
    "identity",
    default="status",
    surfaces=TERMINAL,
    help=gettext("Who is one customer: link, review, undo."),
)
def COMMAND() -> None: ...


@COMMAND.command(
    "status",
    role="analyst",
    surfaces=TERMINAL,
    help=gettext("How many ids are linked, by what, and which keys tell nobody apart."),
)
def status(call: Call) -> Answer:
    """Count the links and list ambiguous keys."""
    from retention.lake.identity import load_rules
    from retention.lake.identity import review as identity_review

    services = call.services
    with services.database.reading() as session:
        report = identity_review.status(
            _lake(call), session, services.settings, load_rules(services.settings)
        )
    return Answer("identity/status", report)


@COMMAND.command(
    "link",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "Link by shared keys, then by likeness; what is unsure is left for `identity review`."
    ),
)
@click.option(
    "--threshold",
    type=number_between(0.5, 1),
    metavar="P",
    help=gettext("Accept likeness from here on."),
)
@click.option(
    "--review",
    type=number_between(0.01, 1),
    metavar="P",
    help=gettext("Leave it to a person from here on."),
)
@click.option("--exact", is_flag=True, help=gettext("By shared keys alone, without likeness."))
def link(call: Call, threshold: float | None, review: float | None, exact: bool) -> Answer:
    """Link ids by shared keys, then by similarity."""
    from retention.lake.identity import review as identity_review

    services = call.services
    report = identity_review.link(
        _lake(call),
        services.database,
        services.settings,
        by=call.user,
        accept=threshold,
        review=review,
        with_similarity=not exact,
        progress=call.progress,
    )
    return Answer("identity/link", report)


@COMMAND.command(
    "review",
    role="analyst",
    surfaces=TERMINAL,
    help=gettext("The pairs that a person has to decide on, with what speaks for them."),
)
@click.option(
    "--csv",
    "path",
    type=TO_WRITE,
    cls=TerminalOption,
    metavar="FILE",
    help=gettext("Write all of them to a file."),
)
def review(call: Call, path: Path | None) -> Answer:
    """List the pairs that need a decision."""
    from retention.lake.identity import review as identity_review

    pairs = identity_review.review(_lake(call))
    if path:
        identity_review.write_csv(pairs, path)
    return Answer("identity/review", {"pairs": pairs, "csv": str(path) if path else None})


@COMMAND.command(
    "show",
    role="admin",
    surfaces=TERMINAL,
    help=gettext(
        "The ids that are one customer, and the links that make them so. Give any of "
        "their ids, or an e-mail address."
    ),
)
@click.argument("customer", type=CUSTOMER)
def show(call: Call, customer: str) -> Answer:
    """List the ids of a customer and their links."""
    from retention.lake.identity import review as identity_review

    match = find_customer(call.services, customer)
    links = identity_review.customer_links(_lake(call), str(match["customer_id"]))
    return Answer("identity/show", links)


@COMMAND.command("accept", role="admin", surfaces=TERMINAL, help=gettext("They are one customer."))
@LINKS
def accept(call: Call, links: tuple[str, ...]) -> Answer:
    """Merge the linked ids."""
    return _decide(call, links, "accepted")


@COMMAND.command(
    "reject",
    role="admin",
    surfaces=TERMINAL,
    help=gettext("They are not one customer; nothing links them by itself any more."),
)
@LINKS
def reject(call: Call, links: tuple[str, ...]) -> Answer:
    """Reject links for good."""
    return _decide(call, links, "rejected")


@COMMAND.command(
    "undo",
    role="admin",
    surfaces=TERMINAL,
    help=gettext("Take a merge back; every event is its own customer's again."),
)
@LINKS
def undo(call: Call, links: tuple[str, ...]) -> Answer:
    """Undo a merge."""
    return _decide(call, links, "undone")


def _decide(call: Call, links: tuple[str, ...], state: str) -> Answer:
    from retention.lake.identity import review as identity_review

    services = call.services
    decision = identity_review.decide(
        _lake(call), services.database, services.settings, links, state, by=call.user
    )
    return Answer("identity/decided", decision.as_dict())


def _lake(call: Call) -> Any:
    from retention.lake import Lake

    return Lake.open(call.services.settings)
