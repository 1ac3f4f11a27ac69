"""Evaluate an audience by itself, with the scores that its risk and value come from."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import select

from retention.audiences.evaluate import Members, members, needs_scores
from retention.audiences.expression import Expression
from retention.db import Database
from retention.db.tables import Cohort, Run
from retention.lake.schema import TABLES
from retention.lake.storage import delta_store
from retention.progress import Progress, silent
from retention.registry import champion, definition_in_force
from retention.registry.model_cache import churn_model
from retention.risk.policy import load_policy

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

# Several alerts of one check need the scores of the same moments.
MAX_RECENT = 3
_recent: "WeakKeyDictionary[Lake, dict[tuple[Any, ...], pd.DataFrame]]" = WeakKeyDictionary()


def scores_at(
    lake: "Lake", database: Database, as_of: datetime | None, progress: Progress = silent
) -> "tuple[datetime, pd.DataFrame]":
    """Return the moment and the scores of all active customers.

    Scores of a sweep at the same moment with the same model are used again.

    Returns: ``customer_id, churn_probability, tier, expected_value``.
    """
    from retention.risk import rules
    from retention.risk.sweep import score_active

    settings = database.settings
    with database.reading() as session:
        row = champion(session, "churn")
    trained = churn_model(settings, row) if row else None
    definition = definition_in_force(lake, database)
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
    key = (moment, version, horizon, delta_store.version(lake.root, TABLES["events"]))
    recent = _recent.setdefault(lake, {})
    if key not in recent:
        policy = load_policy(settings)
        scores, *_ = score_active(lake, trained, policy, moment, definition.window, progress)
        while len(recent) >= MAX_RECENT:
            del recent[next(iter(recent))]
        recent[key] = scores
    return moment, recent[key]


def members_at(
    lake: "Lake",
    database: Database,
    expression: Expression,
    as_of: datetime | None = None,
    progress: Progress = silent,
) -> Members:
    """Find the customers that an expression describes, scoring them if it needs scores."""
    scores = None
    if needs_scores(expression):
        at, scores = scores_at(lake, database, as_of, progress)
    elif as_of is not None:
        at = as_of
    else:
        horizon = definition_in_force(lake, database).horizon_days
        at = lake.as_of(as_of, horizon).at
    with database.reading() as session:
        return members(lake, session, expression, at, scores)
