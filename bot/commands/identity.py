"""`identity`: link, review and undo merges of customer ids."""

from pathlib import Path
from typing import Any

import click

from bot.commands.parameters import CUSTOMER, TO_WRITE, number_between, option, switch
from bot.commands.tree import Answer, Call, group
from retention.text import gettext

LINKS = click.argument("links", nargs=-1, required=True, metavar="LINK…")


def _review() -> Any:
    """Import the review of links when it is used: it loads pandas."""
    from retention.lake.identity import review

    return review


COMMAND = group("identity", default="status")


@COMMAND.command(
    "status",
    role="analyst",
    help=gettext("How many ids are linked, by what, and which keys tell nobody apart."),
)
def status(call: Call) -> Answer:
    """Count the links and list ambiguous keys."""
    from retention.lake.identity import load_rules

    with call.database.reading() as session:
        report = _review().status(call.lake, session, load_rules(call.settings))
    return Answer("identity/status", report)


@COMMAND.command(
    "link",
    role="admin",
    help=gettext(
        "Link by shared keys, then by likeness; what is unsure is left for `identity review`."
    ),
)
@option("--threshold", gettext("Accept likeness from here on."), number_between(0.5, 1), "P")
@option("--review", gettext("Leave it to a person from here on."), number_between(0.01, 1), "P")
@switch("--exact", gettext("By shared keys alone, without likeness."))
def link(call: Call, threshold: float | None, review: float | None, exact: bool) -> Answer:
    """Link ids by shared keys, then by similarity."""
    report = _review().link(
        call.lake,
        call.database,
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
    help=gettext("The pairs that a person has to decide on, with what speaks for them."),
)
@option("--csv", gettext("Write all of them to a file."), TO_WRITE, "FILE", into="path")
def review(call: Call, path: Path | None) -> Answer:
    """List the pairs that need a decision."""
    pairs = _review().review(call.lake)
    if path:
        _review().write_csv(pairs, path)
    return Answer("identity/review", {"pairs": pairs, "csv": str(path) if path else None})


@COMMAND.command(
    "show",
    role="admin",
    help=gettext(
        "The ids that are one customer, and the links that make them so. Give any of "
        "their ids, or an e-mail address."
    ),
)
@click.argument("customer", type=CUSTOMER)
def show(call: Call, customer: str) -> Answer:
    """List the ids of a customer and their links."""
    match = call.find_customer(customer)
    links = _review().customer_links(call.lake, str(match["customer_id"]))
    return Answer("identity/show", links)


def _add_decision(name: str, state: str, help: str) -> None:
    @COMMAND.command(name, role="admin", help=help)
    @LINKS
    def decide(call: Call, links: tuple[str, ...]) -> Answer:
        decided = _review().decide(call.lake, call.database, links, state, by=call.user)
        return Answer("identity/decided", decided.as_dict())


_add_decision("accept", "accepted", gettext("They are one customer."))
_add_decision(
    "reject",
    "rejected",
    gettext("They are not one customer; nothing links them by itself any more."),
)
_add_decision(
    "undo", "undone", gettext("Take a merge back; every event is its own customer's again.")
)
