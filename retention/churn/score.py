"""Scores of every active customer: risk, reasons, what is at stake, when the next order is due."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from retention.churn.model import TrainedChurn
from retention.churn.model_features import purchase_history
from retention.churn.reasons import SEASON_GROUP, reasons, weights_by_group
from retention.churn.snapshots import Snapshot, take_snapshot
from retention.errors import TooLittleData
from retention.progress import Progress, part, silent
from retention.text import gettext

MAX_FORECAST_DAYS = 3650
COLUMNS = ("customer_id", "churn_probability", "reasons", "expected_value", "next_order_at")


def score(
    trained: TrainedChurn,
    lake: Any,
    as_of: datetime,
    *,
    customer_ids: Collection[str] | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """One row a customer active at ``as_of``, or those asked for, active or not: see `COLUMNS`.

    ``expected_value`` is what they would spend within one horizon if they stay: the posterior purchase rate while
    alive (BG/NBD) × horizon × expected spend an order day (Gamma-Gamma). It is not discounted by the churn
    probability; probability × value is what is at risk. ``next_order_at`` is the last order plus their usual gap or,
    where that has passed, ``as_of`` plus the median wait of such a customer while alive.

    Raises
    ------
    TooLittleData
        Where nobody was active.
    """
    progress(0, 10, f"Features as of {lake.local(as_of):%d %b %Y}")
    active = trained.active_within_days if customer_ids is None else None
    snapshot = population(lake, as_of, horizon_days=trained.horizon_days, active_within_days=active)
    value = expected_spend(snapshot, trained.horizon_days)
    if customer_ids is not None:
        keep = snapshot.frame.customer_id.isin(list(customer_ids)).to_numpy()
        snapshot, value = snapshot.rows(keep), value[keep]
    return score_table(
        trained, snapshot, value, exact_first_weights(trained, snapshot, value, progress)
    )


def exact_first_weights(
    trained: TrainedChurn, snapshot: Snapshot, value: np.ndarray, progress: Progress = silent
) -> dict[str, np.ndarray]:
    """Each group's weight for each customer; where not all can be exact, those with most at stake are."""
    X = snapshot.matrix(trained.columns)
    dearest = np.argsort(-trained.probability(X) * value, kind="stable")
    found = weights_by_group(trained, X[dearest], progress=part(progress, 1, 3))
    back = np.argsort(dearest)
    return {group: one[back] for group, one in found.items()}


def score_table(
    trained: TrainedChurn, snapshot: Snapshot, value: np.ndarray, weight: dict[str, np.ndarray]
) -> pd.DataFrame:
    """The columns of `COLUMNS` for these customers, their reasons in words.

    The time of the year is none before thirteen months: what a model makes of it then may be any trend.
    """
    typical = dict(zip(trained.columns, trained.reference, strict=True))
    if snapshot.season is None:
        weight = {group: one for group, one in weight.items() if group != SEASON_GROUP}
    return pd.DataFrame(
        {
            "customer_id": snapshot.frame.customer_id,
            "churn_probability": trained.predict(snapshot),
            "reasons": reasons(
                snapshot.frame, weight, typical=typical, horizon_days=trained.horizon_days
            ),
            "expected_value": value,
            "next_order_at": next_order(snapshot),
        }
    )


def population(
    lake: Any, as_of: datetime, *, horizon_days: int, active_within_days: int | None
) -> Snapshot:
    """Who is there to be scored; raises `TooLittleData` where nobody is."""
    snapshot = take_snapshot(
        lake,
        as_of,
        horizon_days=horizon_days,
        active_within_days=active_within_days,
        labelled=False,
    )
    if not len(snapshot.frame):
        within = (
            "ever ordered"
            if active_within_days is None
            else f"ordered in the {active_within_days} days"
        )
        raise TooLittleData(
            gettext(
                "Nobody {within} before {local:%Y-%m-%d}; import newer events or choose an "
                "earlier --as-of."
            ).format(within=within, local=lake.local(as_of))
        )
    return snapshot


def expected_spend(snapshot: Snapshot, horizon_days: int) -> np.ndarray:
    """Expected spend within one horizon of each customer if they stay, (n,)."""
    if snapshot.spend is None:
        return np.zeros(len(snapshot.frame))
    x, _, age = purchase_history(snapshot.frame)
    days = snapshot.frame.order_days.to_numpy(dtype=float)
    mean = np.maximum(snapshot.frame.spend_all.to_numpy(dtype=float) / days, 0)
    rate = snapshot.purchases.rate_if_alive(x, age)
    return np.maximum(rate * horizon_days * snapshot.spend.expected(days, mean), 0)


def next_order(snapshot: Snapshot) -> pd.Series:
    """When each customer's next order is due (UTC), while they are still a customer; missing where that is ten years off and more."""
    x, _, age = purchase_history(snapshot.frame)
    due = snapshot.frame.gap_median.to_numpy(
        dtype=float, na_value=np.nan
    ) - snapshot.frame.recency_days.to_numpy(dtype=float)
    wait = snapshot.purchases.wait_if_alive(x, age)
    days = np.where(
        np.isnan(due) | (due <= 0), np.where(wait < MAX_FORECAST_DAYS, wait, np.nan), due
    )
    return pd.Series(
        pd.Timestamp(snapshot.cutoff) + pd.to_timedelta(np.round(days * 86_400), unit="s")
    )
