"""Use saved audiences in jobs."""

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from retention.audiences import store
from retention.audiences.expression import Expression
from retention.audiences.parse import parse
from retention.db import Database
from retention.progress import Progress, silent
from retention.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from retention.audiences.evaluate import Members
    from retention.lake import Lake
    from retention.risk.sweep import Sweep

MAX_LIST_NAME = 40  # characters of `Cohort.audience`


def check_exists(database: Database, settings: Settings, name: str | None) -> str | None:
    """Return the name of a saved audience as it is stored.

    Raises
    ------
    BadInput
        There is no such audience. The message names the nearest.
    """
    if name is None:
        return None
    with database.reading() as session:
        return store.find(session, settings, name).name


def check_condition(typed: str | None) -> str | None:
    """Return a condition as the audience grammar writes it.

    Raises
    ------
    BadInput
        It cannot be read. The message says where.
    """
    return None if typed is None else str(parse(typed))


def check_fields(lake: "Lake", where: str | None) -> None:
    """Refuse a condition on a field that no customer has.

    Without this check it would be true of nobody, without a word.

    Raises
    ------
    BadInput
        The message names the known fields.
    """
    from retention.lake.places import attribute_names

    if where is not None:
        parse(where, attribute_names(lake))


def expression_of(
    lake: "Lake", session: Session, settings: Settings, audience: str | None, where: str | None
) -> Expression | None:
    """Return what limits a list: a saved audience, a condition, or both.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    audience : str or None
        Name of a saved audience.
    where : str or None
        A condition.

    Returns
    -------
    Expression or None
        None without both.
    """
    check_fields(lake, where)
    parts = [] if where is None else [where]
    if audience is not None:
        parts.insert(0, store.find(session, settings, audience).expression)
    return parse(" and ".join(f"({part})" for part in parts)) if parts else None


def members_of(
    lake: "Lake",
    database: Database,
    settings: Settings,
    name: str | None,
    as_of: datetime | None = None,
    progress: Progress = silent,
    where: str | None = None,
) -> "Members":
    """Find the customers of a saved audience, a condition, or both.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    database : Database
        Holds the audience.
    settings : Settings
        Of the installation.
    name : str or None
        The audience.
    as_of : datetime, optional
        Cutoff; by default that of `Lake.as_of`.
    progress : Progress, optional
        Called with done, total and a label.
    where : str, optional
        A condition. One of ``name`` and ``where`` is needed.

    Returns
    -------
    Members
    """
    from retention.audiences.scores import members_at

    with database.reading() as session:
        expression = expression_of(lake, session, settings, name, where)
    assert expression is not None
    return members_at(lake, database, settings, expression, as_of, progress)


def restrict(
    lake: "Lake", session: Session, settings: Settings, swept: "Sweep", name: str
) -> "Sweep":
    """Return a sweep of a saved audience's customers only.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    swept : Sweep
        Of all active customers.
    name : str
        The audience.

    Returns
    -------
    Sweep
    """
    customers = members_among(lake, session, settings, name, swept.as_of, swept.scores)
    return swept.restricted_to(customers)


def restrict_where(
    lake: "Lake", session: Session, settings: Settings, swept: "Sweep", where: str
) -> "Sweep":
    """Return a sweep of the customers of a condition only.

    The note names values of the condition that no customer has.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    swept : Sweep
        Of all active customers.
    where : str
        An audience expression.

    Returns
    -------
    Sweep
    """
    from dataclasses import replace

    from retention.audiences.evaluate import members

    found = members(lake, session, settings, parse(where), swept.as_of, swept.scores)
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
    session: Session,
    settings: Settings,
    name: str | None,
    as_of: datetime,
    scores: "pd.DataFrame",
    where: str | None = None,
) -> frozenset[str]:
    """Return the customers of a saved audience or a condition, with the scores of a sweep."""
    from retention.audiences.evaluate import members

    expression = expression_of(lake, session, settings, name, where)
    assert expression is not None
    return members(lake, session, settings, expression, as_of, scores).customers
