"""Take the customers to score, with their expected spend and next order.

`population` computes all features, for a model. `buyers` computes few, for rules.
"""

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retention.churn.model_features import purchase_history
from retention.churn.snapshots import (
    Snapshot,
    buyers_frame,
    eligible,
    fit_purchases,
    fit_spend,
    take_snapshot,
)
from retention.errors import TooLittleData
from retention.features.build import FeatureTables
from retention.lake.storage.delta_store import DataCache
from retention.text import gettext
from retention.window import Window

if TYPE_CHECKING:
    from retention.lake import Lake

MAX_CACHED = 100_000  # customers of a kept snapshot, about 100 MB
MAX_FORECAST_DAYS = 3650  # later orders count as missing
# What rules, expected spend and next order need. All features take four times as long.
BUYER_FEATURES = (
    "recency_days",
    "tenure_days",
    "order_days",
    "orders_all",
    "spend_all",
    "gap_median",
    "gap_max",
)


def _is_small(snapshot: Snapshot) -> bool:
    return len(snapshot.frame) <= MAX_CACHED


_SNAPSHOTS: DataCache[Snapshot] = DataCache(2, is_small=_is_small, all_tables=True)
_BUYERS: DataCache[Snapshot] = DataCache(2, is_small=_is_small)


def buyers(lake: "Lake", as_of: datetime, window: Window) -> Snapshot:
    """Take the customers to score by rules, with `BUYER_FEATURES` and without buying states.

    All buyers of the last moments are kept: a list needs the active ones and the lapsed ones.
    """

    def take() -> Snapshot:
        frame = buyers_frame(lake, as_of, window.horizon_days, BUYER_FEATURES)
        process, spend = fit_purchases(frame), fit_spend(frame)
        return Snapshot(as_of, frame, None, len(frame), process, None, spend)

    population = eligible(_BUYERS.get(lake, (as_of, window.horizon_days), take), (), window)
    _require_customers(population.frame, lake, as_of, window)
    return population


def buyers_with(fits: Snapshot, lake: FeatureTables, as_of: datetime, window: Window) -> Snapshot:
    """Take some customers to score by rules, with the models that were fitted on all buyers."""
    frame = buyers_frame(lake, as_of, window.horizon_days, BUYER_FEATURES)
    return eligible(replace(fits, cutoff=as_of, frame=frame), (), window)


def population(lake: "Lake", as_of: datetime, window: Window) -> Snapshot:
    """Take the snapshot of the customers to score.

    The last ones are kept until the data changes: a list, its customers' cards, the digest and the
    check of the model ask for the same moment.
    """

    def take() -> Snapshot:
        return take_snapshot(lake, as_of, window, labelled=False)

    snapshot = _SNAPSHOTS.get(lake, (as_of, window), take)
    _require_customers(snapshot.frame, lake, as_of, window)
    return snapshot


def _require_customers(frame: pd.DataFrame, lake: "Lake", as_of: datetime, window: Window) -> None:
    if len(frame):
        return
    if window.active_within_days is None:
        sentence = gettext(
            "Nobody ever ordered before {day:%Y-%m-%d}; import newer events or choose an "
            "earlier --as-of."
        )
    else:
        sentence = gettext(
            "Nobody ordered in the {days} days before {day:%Y-%m-%d}; import newer events or "
            "choose an earlier --as-of."
        )
    raise TooLittleData(sentence.format(days=window.active_within_days, day=lake.local(as_of)))


def spend_per_order_day(customers: Snapshot) -> np.ndarray:
    """Return the expected spend per order day (Gamma-Gamma), (n,); 0 without amounts."""
    if customers.spend is None:
        return np.zeros(len(customers.frame))
    days = customers.frame.order_days.to_numpy(dtype=float)
    mean = np.maximum(customers.frame.spend_all.to_numpy(dtype=float) / days, 0)
    return customers.spend.expected(days, mean)


def expected_spend(snapshot: Snapshot, horizon_days: int) -> np.ndarray:
    """Return the expected spend in one horizon if customers stay, (n,)."""
    x, _, age = purchase_history(snapshot.frame)
    rate = snapshot.purchases.rate_if_alive(x, age)
    return np.maximum(rate * horizon_days * spend_per_order_day(snapshot), 0)


def next_order(snapshot: Snapshot) -> pd.Series:
    """Return the expected time of each next order (UTC).

    Missing if it is ten years away or more.
    """
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
