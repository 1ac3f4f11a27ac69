"""Use saved audiences in jobs."""

import hashlib
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from retention.audiences import store
from retention.audiences.evaluate import members
from retention.audiences.expression import Expression
from retention.audiences.parse import parse
from retention.db import Database, Transaction
from retention.lake.customer_directory import attribute_names

if TYPE_CHECKING:
    import pandas as pd

    from retention.audiences.evaluate import Members
    from retention.lake import Lake
    from retention.risk.sweep import Sweep
    from workers.tasks.interface import Context

MAX_LIST_NAME = 40  # characters of `Cohort.audience`


def check_exists(database: Database, name: str | None) -> str | None:
    """Return the name of a saved audience as it is stored."""
    if name is None:
        return None
    with database.reading() as session:
        return store.find(session, name).name


def check_condition(typed: str | None) -> str | None:
    """Return a condition as the audience grammar writes it."""
    return None if typed is None else str(parse(typed))


def check_fields(lake: "Lake", where: str | None) -> None:
    """Refuse a condition on a field that no customer has.

    Without this check it would be true of nobody, without a word.
    """
    if where is not None:
        parse(where, attribute_names(lake))


def expression_of(
    lake: "Lake", session: Transaction, audience: str | None, where: str | None
) -> Expression | None:
    """Return what limits a list: a saved audience, a condition, or both."""
    check_fields(lake, where)
    parts = [] if where is None else [where]
    if audience is not None:
        parts.insert(0, store.find(session, audience).expression)
    return parse(" and ".join(f"({part})" for part in parts)) if parts else None


def members_of(
    lake: "Lake", context: "Context", name: str | None, where: str | None, as_of: datetime | None
) -> "Members":
    """Find the customers of a saved audience, a condition, or both."""
    from retention.audiences.scores import members_at

    with context.database.reading() as session:
        expression = expression_of(lake, session, name, where)
    assert expression is not None
    return members_at(lake, context.database, expression, as_of, context.progress)


def restrict(lake: "Lake", session: Transaction, swept: "Sweep", name: str) -> "Sweep":
    """Return a sweep of a saved audience's customers only."""
    customers = members_among(lake, session, name, swept.as_of, swept.scores)
    return swept.restricted_to(customers)


def restrict_where(lake: "Lake", session: Transaction, swept: "Sweep", where: str) -> "Sweep":
    """Return a sweep of the customers of a condition only.

    The note names values of the condition that no customer has.
    """
    found = members(lake, session, parse(where), swept.as_of, swept.scores)
    note = " ".join(part for part in (swept.note, *found.warnings) if part)
    return replace(swept.restricted_to(found.customers), note=note)


def full_name(audience: str | None, where: str | None) -> str:
    """Return an audience and a condition for people; empty without both."""
    return ": ".join(part for part in (audience, where) if part)


def list_name(audience: str | None, where: str | None) -> str | None:
    """Return how a list's cohort names its customers; None for all active customers.

    A long condition is cut to the column's length. A hash tells it from others.
    """
    name = full_name(audience, where)
    if len(name) > MAX_LIST_NAME:
        name = f"{name[: MAX_LIST_NAME - 9]} {hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return name or None


def members_among(
    lake: "Lake",
    session: Transaction,
    name: str | None,
    as_of: datetime,
    scores: "pd.DataFrame",
    where: str | None = None,
) -> frozenset[str]:
    """Return the customers of a saved audience or a condition, with the scores of a sweep."""
    expression = expression_of(lake, session, name, where)
    assert expression is not None
    return members(lake, session, expression, as_of, scores).customers
