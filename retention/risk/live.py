"""Score some customers at once, as a sweep at the same moment would.

A score depends on the customer's own events and, a little, on all customers: purchase models are
fitted on all buyers, and rules rank among the active ones. `Population` holds what all customers
contribute. It is measured now and then, because it reads everything.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from retention.churn.population import (
    Buyers,
    buyers,
    buyers_with,
    expected_spend,
    population,
)
from retention.churn.snapshots import Snapshot, snapshot_with
from retention.errors import TooLittleData
from retention.features.availability import unknown_features
from retention.features.order_rhythm import order_rhythm
from retention.risk import rules
from retention.risk.policy import Policy, thresholds, tiers_of

if TYPE_CHECKING:
    import pandas as pd

    from retention.churn.model import TrainedChurn
    from retention.lake import Lake
    from retention.lake.customer_lake import CustomerLake

COLUMNS = ("customer_id", "churn_probability", "tier", "expected_value")


@dataclass(frozen=True, slots=True)
class Population:
    """What all customers contribute to a single score.

    Parameters
    ----------
    measured_at : datetime
        Cutoff of the measurement.
    version : str
        Model that scores.
    horizon_days : int
    active_within_days : int or None
    score : callable
        Customers' lake and cutoff → ``customer_id, churn_probability, expected_value``.
    trained : TrainedChurn or None
        None if rules score.
    """

    measured_at: datetime
    version: str
    horizon_days: int
    active_within_days: int | None
    score: "Callable[[CustomerLake, datetime], pd.DataFrame]"
    trained: "TrainedChurn | None" = None

    def scores(self, lake: "CustomerLake", as_of: datetime, policy: Policy) -> "pd.DataFrame":
        """Score the active customers of a lake.

        Parameters
        ----------
        lake : CustomerLake
            The customers to score.
        as_of : datetime
            Timezone-aware cutoff.
        policy : Policy
            Thresholds of the tiers.

        Returns
        -------
        pandas.DataFrame
            `COLUMNS`; without customers who never ordered or are no longer active.
        """
        frame = self.score(lake, as_of)
        tiers = tiers_of(
            frame["churn_probability"].to_numpy(dtype=float), thresholds(policy, self.trained)
        )
        return frame.assign(tier=tiers)[list(COLUMNS)]


def measure_population(
    lake: "Lake",
    trained: "TrainedChurn | None",
    at: datetime,
    *,
    horizon_days: int,
    active_within_days: int | None,
) -> Population | None:
    """Measure what all customers contribute to a score.

    Parameters
    ----------
    lake : Lake
        The whole lake.
    trained : TrainedChurn or None
        None scores by rules. A model brings its own horizon and activity window.
    at : datetime
        Timezone-aware cutoff.
    horizon_days : int
    active_within_days : int or None

    Returns
    -------
    Population or None
        None if no customer was active.
    """
    try:
        if trained is not None:
            return _by_model(lake, trained, at)
        return _by_rules(lake, at, horizon_days, active_within_days)
    except TooLittleData:
        return None


def _by_model(lake: "Lake", trained: "TrainedChurn", at: datetime) -> Population:
    horizon, within = trained.horizon_days, trained.active_within_days
    everyone = population(lake, at, horizon_days=horizon, active_within_days=None)
    fits: Snapshot = replace(everyone, frame=everyone.frame.head(0))
    unknown = unknown_features(lake, at)

    def score(few: "CustomerLake", as_of: datetime) -> "pd.DataFrame":
        snapshot = snapshot_with(
            fits, few, as_of, horizon_days=horizon, active_within_days=within, unknown=unknown
        )
        return _frame(snapshot, trained.predict(snapshot), expected_spend(snapshot, horizon))

    return Population(at, trained.version, horizon, within, score, trained)


def _by_rules(
    lake: "Lake", at: datetime, horizon_days: int, active_within_days: int | None
) -> Population:
    everyone = buyers(lake, at, horizon_days=horizon_days, active_within_days=active_within_days)
    active = everyone.frame[["recency_days", "orders_all"]]
    fits: Buyers = replace(everyone, frame=everyone.frame.head(0))
    rank_days = order_rhythm(lake, at).rank_days(active_within_days)

    def score(few: "CustomerLake", as_of: datetime) -> "pd.DataFrame":
        some = buyers_with(
            fits, few, as_of, horizon_days=horizon_days, active_within_days=active_within_days
        )
        _, _, risk = rules.ranks(some.frame, active, rank_days)
        return _frame(some, risk, expected_spend(some, horizon_days))

    return Population(at, rules.VERSION, horizon_days, active_within_days, score)


def _frame(customers: Snapshot | Buyers, risk: object, expected_value: object) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(
        {
            "customer_id": customers.frame.customer_id,
            "churn_probability": risk,
            "expected_value": expected_value,
        }
    )
