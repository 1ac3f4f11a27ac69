"""Compare customers at risk with earlier predictions and outcomes."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db.tables import Cohort, ModelVersion, Run
from retention.errors import TooLittleData
from retention.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from retention.churn import TrainedChurn
    from retention.lake import Lake
    from retention.risk.policy import Policy

HORIZON_DAYS = 28  # for rules
SOONEST = timedelta(days=7)  # earlier, no purchase since says nothing


@dataclass(frozen=True, slots=True)
class Risk:
    """Customers by tier and their revenue at risk.

    The revenue is expected spend in a horizon × churn probability.
    """

    tiers: dict[str, int]
    revenue_at_risk: float
    high: tuple[str, ...]  # customers of the high tier, the most at stake first


def risk(
    lake: "Lake", trained: "TrainedChurn | None", policy: "Policy", at: datetime
) -> Risk | None:
    """Score every customer active at a time.

    None if there are none.

    Both dates use the same model, so a change comes from the customers and not from the model.

    Parameters
    ----------
    lake, policy : Lake, Policy
        Data, and thresholds of the tiers.
    trained : TrainedChurn or None
        None scores by rules.
    at : datetime
        The cutoff.
    """
    from retention.risk.policy import TIERS, tiers_of
    from retention.risk.sweep import revenue_at_risk

    try:
        scores = _scores(lake, trained, at)
    except TooLittleData:
        return None
    tier = tiers_of(scores["churn_probability"].to_numpy(), policy)
    at_stake = scores["churn_probability"] * scores["expected_value"]
    high = scores.loc[at_stake.sort_values(ascending=False, kind="stable").index]
    high = high.loc[tier[high.index.to_numpy()] == "high", "customer_id"]
    return Risk(
        {name: int((tier == name).sum()) for name in TIERS},
        revenue_at_risk(scores[tier == "high"]),
        tuple(high),
    )


def _scores(lake: "Lake", trained: "TrainedChurn | None", at: datetime) -> "pd.DataFrame":
    """Score as a sweep does, without reasons.

    Reasons take most of its time.
    """
    import pandas as pd

    from retention.churn.score import expected_spend, population
    from retention.risk import rules

    if trained is None:
        by_rank, _ = rules.score(lake, at)
        return by_rank.reset_index(drop=True)
    people = population(
        lake, at, horizon_days=trained.horizon_days, active_within_days=trained.active_within_days
    )
    return pd.DataFrame(
        {
            "customer_id": people.frame["customer_id"].to_numpy(),
            "churn_probability": trained.predict(people),
            "expected_value": expected_spend(people, trained.horizon_days),
        }
    )


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """Outcome of customers flagged as high risk.

    A published sweep flagged them.

    ``days`` of the ``horizon_days`` have passed; ``others`` is the same share among all other
    scored customers. ``expected`` is the mean churn probability of the flagged (None for rules,
    because their scores are no probabilities).
    """

    flagged_on: datetime
    model_version: str
    horizon_days: int
    days: int
    flagged: int
    lapsed: int
    share: float
    others: float | None
    expected: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome for the digest's JSON."""
        return {
            **asdict(self),
            "flagged_on": self.flagged_on.isoformat(),
            "finished": self.days >= self.horizon_days,
        }


def latest_outcome(
    lake: "Lake", session: Session, settings: Settings, at: datetime
) -> SweepOutcome | None:
    """Return the outcome of a past sweep.

    It is the newest published sweep with a finished horizon, else the oldest of at least a week.

    Parameters
    ----------
    lake, session, settings : Lake, Session, Settings
        Data, transaction and installation.
    at : datetime
        Later data is not used.
    """
    rows = session.execute(
        select(Cohort.run_id, Cohort.as_of, Cohort.model_version, ModelVersion.horizon_days)
        .join(Run, Run.run_id == Cohort.run_id)
        .outerjoin(ModelVersion, ModelVersion.version == Cohort.model_version)
        .where(Cohort.team_id == settings.team_id, Cohort.as_of <= at - SOONEST)
        .order_by(Cohort.as_of.desc(), Cohort.created_at.desc())
    ).all()
    if not rows:
        return None
    over = [
        row for row in rows if row.as_of + timedelta(days=row.horizon_days or HORIZON_DAYS) <= at
    ]
    run_id, as_of, version, horizon = over[0] if over else rows[-1]
    return _outcome(lake, run_id, as_of, version, horizon or HORIZON_DAYS, at)


def _outcome(
    lake: "Lake", run_id: str, as_of: datetime, version: str, horizon: int, at: datetime
) -> SweepOutcome | None:
    from retention.lake.lake import naive

    end = min(as_of + timedelta(days=horizon), at)
    events = lake.table("events", before=at)
    bought = events.filter(
        events.event_type == "purchase",
        events.occurred_at >= naive(as_of),
        events.occurred_at < naive(end),
    )
    scores = lake.scores(run_id).select("customer_id", "tier", "churn_probability")
    lines = scores.execute()
    if not (lines["tier"] == "high").any():
        return None
    silent = ~lines["customer_id"].isin(
        bought.select("customer_id").distinct().execute()["customer_id"]
    )
    high = lines["tier"] == "high"
    return SweepOutcome(
        as_of,
        version,
        horizon,
        (end - as_of).days,
        int(high.sum()),
        int(silent[high].sum()),
        float(silent[high].mean()),
        float(silent[~high].mean()) if (~high).any() else None,
        None if version == "rules" else float(lines.loc[high, "churn_probability"].mean()),
    )
