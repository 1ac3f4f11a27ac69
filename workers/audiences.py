"""Use saved audiences in jobs."""

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from retention.audiences import store
from retention.db import Database
from retention.progress import Progress, silent
from retention.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from retention.audiences.evaluate import Members
    from retention.lake import Lake
    from retention.risk.sweep import Sweep


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


def members_of(
    lake: "Lake",
    database: Database,
    settings: Settings,
    name: str,
    as_of: datetime | None = None,
    progress: Progress = silent,
) -> "Members":
    """Find the customers of a saved audience.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    database : Database
        Holds the audience.
    settings : Settings
        Of the installation.
    name : str
        The audience.
    as_of : datetime, optional
        Cutoff; by default that of `Lake.as_of`.
    progress : Progress, optional
        Called with done, total and a label.

    Returns
    -------
    Members
    """
    from retention.audiences.scores import members_at

    with database.reading() as session:
        expression = store.expression_of(store.find(session, settings, name))
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


def members_among(
    lake: "Lake",
    session: Session,
    settings: Settings,
    name: str,
    as_of: datetime,
    scores: "pd.DataFrame",
) -> frozenset[str]:
    """Return the customers of a saved audience, with the scores of a sweep."""
    from retention.audiences.evaluate import members

    expression = store.expression_of(store.find(session, settings, name))
    return members(lake, session, settings, expression, as_of, scores).customers
