"""Commands about one customer, or about many and their orders."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from bot.commands.parameters import (
    AS_OF,
    AUDIENCE,
    CUSTOMER,
    DAY_OR_TIME,
    TO_WRITE,
    WHERE,
    choice,
    integer,
    list_length,
    option,
    scoped_request,
    switch,
)
from bot.commands.tree import SLACK, Answer, Call, TerminalOption, command, request
from retention import clock
from retention.errors import BadInput
from retention.text import gettext
from workers.job_requests import Cohort, Customers, Forget, Recommend, Sales, Score


@command("score", request=Score, private=True)
@click.argument("customer", type=CUSTOMER)
@AS_OF
@switch(
    "--explain", gettext("With a second opinion on the reasons (LIME) and how far to trust it.")
)
def score(call: Call, customer: str, **fields: Any) -> Score:
    """Queue a customer's score."""
    return request(Score, **call.find_customer(customer), **fields)


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
def recommend(call: Call, customer: str, **fields: Any) -> Recommend:
    """Queue recommendations for a customer."""
    return request(Recommend, **call.find_customer(customer), **fields)


def _write_certificate(
    call: Call, data: dict[str, Any], certificate: Path | None = None, **_: Any
) -> None:
    if certificate is not None:
        certificate.write_text(json.dumps(data["certificate"], indent=1), encoding="utf-8")


@command("forget", request=Forget, private=True, after=_write_certificate)
@click.argument("customer", type=CUSTOMER)
@switch("--yes", gettext("Yes, for good: it cannot be undone."), cls=TerminalOption)
@option(
    "--certificate",
    gettext("Write the signed certificate here (JSON)."),
    TO_WRITE,
    "FILE",
    cls=TerminalOption,
)
def forget(
    call: Call, customer: str, yes: bool = False, certificate: Path | None = None
) -> Forget | Answer:
    """Erase a customer everywhere, after a confirmation."""
    match = call.find_customer(customer)
    if call.surface == SLACK:
        return Answer("bot/forget", {"customer": match["customer_id"]})
    if not yes:
        message = gettext("Erasing {customer_id!r} cannot be undone; say it again with --yes.")
        raise BadInput(message.format(customer_id=match["customer_id"]))
    return request(Forget, customer_id=match["customer_id"])


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
def customers(call: Call, **fields: Any) -> Customers:
    """Queue the count of all customers, or those of an audience or a condition."""
    return scoped_request(call, Customers, **fields)


@command("cohort", request=Cohort)
@option(
    "--months",
    gettext("How many months of cohorts, the newest, and for how long each is followed."),
    integer(2, 24),
    "N",
    default=12,
)
@AS_OF
@AUDIENCE
@WHERE
def cohort(call: Call, **fields: Any) -> Cohort:
    """Queue the cohort retention report."""
    return scoped_request(call, Cohort, **fields)


MAX_DAYS = 3660


@command("sales", request=Sales)
@option(
    "--from",
    gettext("The first day; by default six days before the last."),
    DAY_OR_TIME,
    "DATE",
    into="first",
)
@option("--to", gettext("The last day, by default yesterday."), DAY_OR_TIME, "DATE", into="last")
@AUDIENCE
@WHERE
def sales(call: Call, first: datetime | None, last: datetime | None, **scope: Any) -> Sales:
    """Queue the sum of a period's orders."""
    zone = call.settings.zone
    today = clock.now().astimezone(zone).date()
    end = last.astimezone(zone).date() if last else today - timedelta(days=1)
    start = first.astimezone(zone).date() if first else end - timedelta(days=6)
    if start > min(end, today):
        message = gettext("--from is {start}, but it must not be after {end}.")
        raise BadInput(message.format(start=start, end=min(end, today)))
    if (end - start).days >= MAX_DAYS:
        message = gettext("--from is {start}; give at most {most:,} days.")
        raise BadInput(message.format(start=start, most=MAX_DAYS))
    return scoped_request(call, Sales, first=start, last=end, **scope)
