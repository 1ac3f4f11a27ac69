"""Compare customers at risk with earlier predictions and outcomes."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, select

from retention.churn.population import expected_spend, population
from retention.db import Transaction
from retention.db.tables import Cohort, ModelVersion, Run
from retention.errors import TooLittleData
from retention.lake.lake import naive
from retention.registry import ChurnDefinition
from retention.risk.live import score_frame
from retention.risk.policy import TIERS, thresholds, tiers_of

if TYPE_CHECKING:
    import pandas as pd

    from retention.churn.model import TrainedChurn
    from retention.lake import Lake
    from retention.risk.policy import Policy

OLD_HORIZON_DAYS = 28  # of sweeps by rules before cohorts stored it
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
    lake: "Lake",
    trained: "TrainedChurn | None",
    policy: "Policy",
    at: datetime,
    definition: ChurnDefinition,
) -> Risk | None:
    """Score every customer active at a time.

    None if there are none.

    Both dates use the same model, so a change comes from the customers and not from the model.
    """
    from retention.risk.sweep import revenue_at_risk

    try:
        scores = _scores(lake, trained, at, definition)
    except TooLittleData:
        return None
    tier = tiers_of(scores["churn_probability"].to_numpy(), thresholds(policy, trained))
    at_stake = scores["churn_probability"] * scores["expected_value"]
    high = scores.loc[at_stake.sort_values(ascending=False, kind="stable").index]
    high = high.loc[tier[high.index.to_numpy()] == "high", "customer_id"]
    tiers = {name: int((tier == name).sum()) for name in TIERS}
    return Risk(tiers, revenue_at_risk(scores[tier == "high"]), tuple(high))


def _scores(
    lake: "Lake", trained: "TrainedChurn | None", at: datetime, definition: ChurnDefinition
) -> "pd.DataFrame":
    """Score as a sweep does, without reasons. Reasons take most of its time."""
    from retention.risk import rules

    if trained is None:
        by_rank, *_ = rules.score(lake, at, definition.window, with_reasons=False)
        return by_rank.reset_index(drop=True)
    people = population(lake, at, trained.window)
    value = expected_spend(people, trained.horizon_days)
    return score_frame(people, trained.predict(people), value)


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


def latest_outcome(lake: "Lake", session: Transaction, at: datetime) -> SweepOutcome | None:
    """Return the outcome of the sweep that the digest follows.

    Every digest shows the same sweep until its horizon is over (`_followed_sweeps`). The next one
    replaces it when it is a week old.
    """
    rows = session.execute(
        select(
            Cohort.run_id,
            Cohort.as_of,
            Cohort.model_version,
            func.coalesce(Cohort.horizon_days, ModelVersion.horizon_days, OLD_HORIZON_DAYS),
        )
        .join(Run, Run.run_id == Cohort.run_id)
        .outerjoin(ModelVersion, ModelVersion.version == Cohort.model_version)
        .where(
            Cohort.team_id == session.settings.team_id,
            Cohort.as_of <= at - SOONEST,
            Cohort.audience.is_(None),
        )
        .order_by(Cohort.created_at, Cohort.as_of, Cohort.id)
    ).tuples()
    followed = _followed_sweeps(_Sweep(*row) for row in rows)
    return _outcome(lake, followed[-1], at) if followed else None


class _Sweep(NamedTuple):
    run_id: str
    as_of: datetime
    model_version: str
    horizon_days: int

    @property
    def end(self) -> datetime:
        return self.as_of + timedelta(days=self.horizon_days)


def _followed_sweeps(sweeps: Iterable[_Sweep]) -> list[_Sweep]:
    """Return the sweeps that digests follow, one after the other.

    A sweep is followed if it begins at or after the end of the one before. The order is that of
    creation, so a later sweep of an earlier date changes no digest.
    """
    followed: list[_Sweep] = []
    for sweep in sweeps:
        if not followed or sweep.as_of >= followed[-1].end:
            followed.append(sweep)
    return followed


def _outcome(lake: "Lake", sweep: _Sweep, at: datetime) -> SweepOutcome | None:
    end = min(sweep.end, at)
    events = lake.table("events", before=at)
    bought = events.filter(
        events.event_type == "purchase",
        events.occurred_at >= naive(sweep.as_of),
        events.occurred_at < naive(end),
    )
    scores = lake.scores(sweep.run_id).select("customer_id", "tier", "churn_probability")
    lines = scores.execute()
    if not (lines["tier"] == "high").any():
        return None
    silent = ~lines["customer_id"].isin(
        bought.select("customer_id").distinct().execute()["customer_id"]
    )
    high = lines["tier"] == "high"
    return SweepOutcome(
        sweep.as_of,
        sweep.model_version,
        sweep.horizon_days,
        (end - sweep.as_of).days,
        int(high.sum()),
        int(silent[high].sum()),
        float(silent[high].mean()),
        float(silent[~high].mean()) if (~high).any() else None,
        None
        if sweep.model_version == "rules"
        else float(lines.loc[high, "churn_probability"].mean()),
    )
