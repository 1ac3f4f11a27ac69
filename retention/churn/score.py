"""Score customers: risk, reasons, expected spend, next order."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retention.churn.explaining.clauses import EvidenceTable
from retention.churn.explaining.reasons import (
    SEASON_GROUP,
    complete_reasons,
    group_weights,
    reasons,
)
from retention.churn.lost_margin import list_columns
from retention.churn.model import TrainedChurn
from retention.churn.population import expected_spend, next_order, population
from retention.churn.snapshots import Snapshot
from retention.progress import Progress, part, silent
from retention.text import gettext
from retention.window import Window

if TYPE_CHECKING:
    from retention.lake import Lake

COLUMNS = (
    "customer_id",
    "churn_probability",
    "reasons",
    "expected_value",
    "next_order_at",
    "lost_spend",
    "return_value",
    "silence_ratio",
)


def score(
    trained: TrainedChurn, lake: "Lake", as_of: datetime, progress: Progress = silent
) -> tuple[pd.DataFrame, EvidenceTable]:
    """Score the active customers.

    Returns: one row per customer with `COLUMNS`. ``expected_value`` is the expected spend within
    one horizon if the customer stays: posterior purchase rate while alive (BG/NBD) × horizon ×
    expected spend per order day (Gamma-Gamma). Multiply it by the probability to get the spend at
    risk. ``next_order_at`` is the last order plus the usual gap. If that has passed, it is
    ``as_of`` plus the median wait of such customers while alive. The last three columns order lists
    (`retention.churn.lost_margin`). And the evidence.
    """
    progress(0, 10, gettext("Features as of {day:%d %b %Y}").format(day=lake.local(as_of)))
    snapshot = population(lake, as_of, trained.window)
    value = expected_spend(snapshot, trained.horizon_days)
    weight = exact_first_weights(trained, snapshot, value, progress)
    return score_table(trained, snapshot, value, weight), evidence_table(trained, snapshot, weight)


def probabilities(trained: TrainedChurn, lake: "Lake", as_of: datetime) -> dict[str, float]:
    """Return the churn probability of every customer who ever ordered, by id."""
    everyone = population(lake, as_of, Window(trained.horizon_days, None))
    chance = trained.predict(everyone)
    return dict(zip(everyone.frame.customer_id, map(float, chance), strict=True))


def evidence_table(
    trained: TrainedChurn, snapshot: Snapshot, weight: Mapping[str, np.ndarray]
) -> EvidenceTable:
    """Return the evidence of scored customers, from the same weights as their reasons."""
    typical = dict(zip(trained.columns, trained.reference, strict=True))
    return EvidenceTable(
        snapshot.frame, _explained(snapshot, weight), typical, trained.horizon_days
    )


def _explained(snapshot: Snapshot, weight: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the weights that may be a reason.

    Before 13 months the season is none: the model cannot tell it from a trend.
    """
    has_season = snapshot.season is not None
    return {group: w for group, w in weight.items() if has_season or group != SEASON_GROUP}


def exact_first_weights(
    trained: TrainedChurn, snapshot: Snapshot, value: np.ndarray, progress: Progress = silent
) -> dict[str, np.ndarray]:
    """Return the group weights of each customer.

    If not all can be exact, those of the customers with most at stake are.
    """
    X = snapshot.matrix(trained.columns)
    by_stake = np.argsort(-trained.probability(X) * value, kind="stable")
    sorted_weights = group_weights(trained, X[by_stake], progress=part(progress, 1, 3)).by_group
    original_order = np.argsort(by_stake)
    return {group: values[original_order] for group, values in sorted_weights.items()}


def score_table(
    trained: TrainedChurn, snapshot: Snapshot, value: np.ndarray, weight: dict[str, np.ndarray]
) -> pd.DataFrame:
    """Build the table of scores with reasons in words.

    Before 13 months the season is no reason: the model cannot tell it from a trend. Every customer
    has a reason in each direction; `retention.risk.reasons.reasons_for_tier` selects those of a
    tier.
    """
    typical = dict(zip(trained.columns, trained.reference, strict=True))
    weight = _explained(snapshot, weight)
    horizon, chance = trained.horizon_days, trained.predict(snapshot)
    listed = reasons(snapshot.frame, weight, typical=typical, horizon_days=horizon)
    churn_rate = trained.parameters.get("train_churn_rate")
    columns = {
        "customer_id": snapshot.frame.customer_id,
        "churn_probability": chance,
        "reasons": [
            complete_reasons(
                reasons_of_one,
                probability=float(probability),
                churn_rate=churn_rate,
                horizon_days=horizon,
            )
            for reasons_of_one, probability in zip(listed, chance, strict=True)
        ],
        "expected_value": value,
        "next_order_at": next_order(snapshot),
        **list_columns(snapshot, 1 - chance, horizon),
    }
    return pd.DataFrame(columns)
