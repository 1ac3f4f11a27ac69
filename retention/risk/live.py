"""Score some customers at once, as a sweep at the same moment would.

A score depends on the customer's own events and, a little, on all customers: purchase models are
fitted on all buyers, and rules rank among the active ones. `Population` holds what all customers
contribute. It is measured now and then, because it reads everything.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import pandas as pd

from retention.churn.population import buyers, buyers_with, expected_spend, population
from retention.churn.snapshots import Snapshot, snapshot_with
from retention.errors import TooLittleData
from retention.features.availability import unknown_features
from retention.features.order_rhythm import order_rhythm
from retention.risk import rules
from retention.risk.policy import Policy, thresholds, tiers_of
from retention.window import Window

if TYPE_CHECKING:
    from retention.churn.model import TrainedChurn
    from retention.lake import Lake
    from retention.lake.customer_lake import CustomerLake

COLUMNS = ("customer_id", "churn_probability", "tier", "expected_value")


@dataclass(frozen=True, slots=True)
class Population:
    """What all customers contribute to a single score.

    `score`: customers' lake and cutoff → ``customer_id, churn_probability, expected_value``.
    """

    version: str
    window: Window
    score: "Callable[[CustomerLake, datetime], pd.DataFrame]"
    trained: "TrainedChurn | None" = None

    def scores(self, lake: "CustomerLake", as_of: datetime, policy: Policy) -> "pd.DataFrame":
        """Score the active customers of a lake.

        `as_of`: timezone-aware cutoff.
        Returns: `COLUMNS`; without customers who never ordered or are no longer active.
        """
        frame = self.score(lake, as_of)
        probabilities = frame["churn_probability"].to_numpy(dtype=float)
        tiers = tiers_of(probabilities, thresholds(policy, self.trained))
        return frame.assign(tier=tiers)[list(COLUMNS)]


def measure_population(
    lake: "Lake", trained: "TrainedChurn | None", at: datetime, window: Window
) -> Population | None:
    """Measure what all customers contribute to a score.

    `trained`: none scores by rules. A model brings its own horizon and activity window.
    `at`: timezone-aware cutoff.
    """
    try:
        if trained is not None:
            return _by_model(lake, trained, at)
        return _by_rules(lake, at, window)
    except TooLittleData:
        return None


def _by_model(lake: "Lake", trained: "TrainedChurn", at: datetime) -> Population:
    window = trained.window
    everyone = population(lake, at, Window(window.horizon_days, None))
    fits = replace(everyone, frame=everyone.frame.head(0))
    unknown = unknown_features(lake, at)

    def score(few: "CustomerLake", as_of: datetime) -> "pd.DataFrame":
        snapshot = snapshot_with(fits, few, as_of, window, unknown)
        value = expected_spend(snapshot, window.horizon_days)
        return score_frame(snapshot, trained.predict(snapshot), value)

    return Population(trained.version, window, score, trained)


def _by_rules(lake: "Lake", at: datetime, window: Window) -> Population:
    everyone = buyers(lake, at, window)
    active = everyone.frame[["recency_days", "orders_all"]]
    fits = replace(everyone, frame=everyone.frame.head(0))
    rank_days = order_rhythm(lake, at).rank_days(window.active_within_days)

    def score(few: "CustomerLake", as_of: datetime) -> "pd.DataFrame":
        some = buyers_with(fits, few, as_of, window)
        _, _, risk = rules.ranks(some.frame, active, rank_days)
        return score_frame(some, risk, expected_spend(some, window.horizon_days))

    return Population(rules.VERSION, window, score)


def score_frame(customers: Snapshot, risk: object, expected_value: object) -> "pd.DataFrame":
    """Return the columns that every score has, without a tier."""
    columns = {
        "customer_id": customers.frame.customer_id,
        "churn_probability": risk,
        "expected_value": expected_value,
    }
    return pd.DataFrame(columns)
