"""Evaluate an audience by itself, with the scores that its risk and value come from."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import select

from retention.audiences.evaluate import Members, members, needs_scores
from retention.audiences.expression import Expression
from retention.db import Database
from retention.db.tables import Cohort, Run
from retention.lake import store
from retention.lake.schema import TABLES
from retention.progress import Progress, silent
from retention.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

# Several alerts of one check need the scores of the same moments.
MAX_RECENT = 3
_recent: "WeakKeyDictionary[Lake, dict[tuple[Any, ...], pd.DataFrame]]" = WeakKeyDictionary()


def scores_at(
    lake: "Lake",
    database: Database,
    settings: Settings,
    as_of: datetime | None,
    progress: Progress = silent,
) -> "tuple[datetime, pd.DataFrame]":
    """Return the moment and the scores of all active customers.

    Scores of a sweep at the same moment with the same model are used again.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    database : Database
        Database of the installation.
    settings : Settings
        Settings of the installation.
    as_of : datetime, optional
        Cutoff; by default that of `Lake.as_of`.
    progress : Progress, optional
        Called with done, total and a label.

    Returns
    -------
    datetime, DataFrame
        ``customer_id, churn_probability, tier, expected_value``.

    Raises
    ------
    TooLittleData
        No customer was active.
    """
    from retention.registry import champion, definition_in_force
    from retention.registry.model_cache import churn_model
    from retention.risk import rules
    from retention.risk.policy import load_policy
    from retention.risk.sweep import score_active

    with database.reading() as session:
        row = champion(session, settings, "churn")
    trained = churn_model(settings, row) if row else None
    definition = definition_in_force(lake, database, settings)
    horizon = trained.horizon_days if trained else definition.horizon_days
    moment = lake.as_of(as_of, horizon).at
    version = trained.version if trained else rules.VERSION
    with database.reading() as session:
        run_id = session.scalar(
            select(Cohort.run_id)
            .join(Run, Run.run_id == Cohort.run_id)
            .where(
                Cohort.team_id == settings.team_id,
                Cohort.as_of == moment,
                Cohort.model_version == version,
                Cohort.horizon_days == horizon,
                Cohort.audience.is_(None),
            )
            .order_by(Cohort.created_at.desc())
            .limit(1)
        )
    if run_id:
        stored = lake.scores(run_id).execute()
        if len(stored):
            return moment, stored
    key = (moment, version, horizon, store.version(lake.root, TABLES["events"]))
    recent = _recent.setdefault(lake, {})
    if key not in recent:
        scores, *_ = score_active(
            lake,
            trained,
            load_policy(settings),
            moment,
            horizon_days=definition.horizon_days,
            active_within_days=definition.active_within_days,
            progress=progress,
        )
        while len(recent) >= MAX_RECENT:
            del recent[next(iter(recent))]
        recent[key] = scores
    return moment, recent[key]


def members_at(
    lake: "Lake",
    database: Database,
    settings: Settings,
    expression: Expression,
    as_of: datetime | None = None,
    progress: Progress = silent,
) -> Members:
    """Find the customers that an expression describes, scoring them if it needs scores.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    database : Database
        Database of the installation.
    settings : Settings
        Settings of the installation.
    expression : Expression
        The customers.
    as_of : datetime, optional
        Cutoff; by default that of `Lake.as_of`.
    progress : Progress, optional
        Called with done, total and a label.

    Returns
    -------
    Members
    """
    scores = None
    if needs_scores(expression):
        at, scores = scores_at(lake, database, settings, as_of, progress)
    elif as_of is not None:
        at = as_of
    else:
        from retention.registry import definition_in_force

        horizon = definition_in_force(lake, database, settings).horizon_days
        at = lake.as_of(as_of, horizon).at
    with database.reading() as session:
        return members(lake, session, settings, expression, at, scores)
