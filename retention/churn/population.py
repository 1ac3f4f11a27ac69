"""Take the customers to score, with their expected spend and next order.

`population` computes all features, for a model. `buyers` computes few, for rules.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retention.churn.model_features import purchase_history
from retention.churn.snapshots import Snapshot, fit_purchases, fit_spend, take_snapshot
from retention.errors import TooLittleData
from retention.features import build
from retention.features.build import FeatureTables
from retention.lake.data_cache import DataCache
from retention.lake.store import to_frame
from retention.text import gettext
from retention.value import bgnbd, gamma_gamma

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

_SNAPSHOTS: DataCache[Snapshot] = DataCache(
    2, is_small=lambda snapshot: len(snapshot.frame) <= MAX_CACHED, all_tables=True
)


@dataclass(frozen=True, slots=True)
class Buyers:
    """Customers at a cutoff, ordered by id, with few features.

    Parameters
    ----------
    cutoff : datetime
        Timezone-aware.
    frame : pandas.DataFrame
        (n,) rows with customer_id and `BUYER_FEATURES`.
    buyers : int
        Customers with any order before the cutoff, also inactive ones.
    purchases : BgNbd
        Fitted on all buyers, in days.
    spend : GammaGamma or None
        Spend per order day of all buyers. None without spend.
    """

    cutoff: datetime
    frame: pd.DataFrame
    buyers: int
    purchases: bgnbd.BgNbd
    spend: gamma_gamma.GammaGamma | None

    def rows(self, keep: np.ndarray) -> "Buyers":
        """Select customers by a boolean mask (n,)."""
        return replace(self, frame=self.frame[keep].reset_index(drop=True))


_BUYERS: DataCache[Buyers] = DataCache(2, is_small=lambda known: len(known.frame) <= MAX_CACHED)


def buyers(
    lake: "Lake", as_of: datetime, *, horizon_days: int, active_within_days: int | None
) -> Buyers:
    """Take the customers to score by rules.

    All buyers of the last moments are kept: a list needs the active ones and the lapsed ones.

    Parameters
    ----------
    lake : Lake
    as_of : datetime
        Timezone-aware.
    horizon_days : int
    active_within_days : int or None

    Raises
    ------
    TooLittleData
        Without customers.
    """

    def take() -> Buyers:
        frame = _read_buyers(lake, as_of, horizon_days)
        return Buyers(as_of, frame, len(frame), fit_purchases(frame), fit_spend(frame))

    population = _active(_BUYERS.get(lake, (as_of, horizon_days), take), active_within_days)
    _require_customers(population.frame, lake, as_of, active_within_days)
    return population


def buyers_with(
    fits: Buyers,
    lake: FeatureTables,
    as_of: datetime,
    *,
    horizon_days: int,
    active_within_days: int | None,
) -> Buyers:
    """Take some customers to score by rules, with the models that were fitted on all buyers.

    Parameters
    ----------
    fits : Buyers
        Of all buyers.
    lake : Lake
        Source of the events of some customers.
    as_of : datetime
        Timezone-aware.
    horizon_days : int
    active_within_days : int or None
    """
    frame = _read_buyers(lake, as_of, horizon_days)
    return _active(replace(fits, cutoff=as_of, frame=frame), active_within_days)


def _read_buyers(lake: FeatureTables, as_of: datetime, horizon_days: int) -> pd.DataFrame:
    everyone = build(
        lake, as_of, horizon_days=horizon_days, active_within_days=None, names=BUYER_FEATURES
    )
    return to_frame(everyone.order_by("customer_id")).reset_index(drop=True)


def _active(population: Buyers, active_within_days: int | None) -> Buyers:
    if active_within_days is None:
        return population
    is_active = population.frame.recency_days <= active_within_days
    return population.rows(is_active.to_numpy(dtype=bool))


def population(
    lake: "Lake", as_of: datetime, *, horizon_days: int, active_within_days: int | None
) -> Snapshot:
    """Take the snapshot of the customers to score.

    The last ones are kept until the data changes: a list, its customers' cards, the digest and the
    check of the model ask for the same moment.

    Parameters
    ----------
    lake : Lake
    as_of : datetime
        Timezone-aware.
    horizon_days : int
    active_within_days : int or None

    Raises
    ------
    TooLittleData
        Without customers.
    """

    def take() -> Snapshot:
        return take_snapshot(
            lake,
            as_of,
            horizon_days=horizon_days,
            active_within_days=active_within_days,
            labelled=False,
        )

    snapshot = _SNAPSHOTS.get(lake, (as_of, horizon_days, active_within_days), take)
    _require_customers(snapshot.frame, lake, as_of, active_within_days)
    return snapshot


def _require_customers(
    frame: pd.DataFrame, lake: "Lake", as_of: datetime, active_within_days: int | None
) -> None:
    if len(frame):
        return
    if active_within_days is None:
        sentence = gettext(
            "Nobody ever ordered before {day:%Y-%m-%d}; import newer events or choose an "
            "earlier --as-of."
        )
    else:
        sentence = gettext(
            "Nobody ordered in the {days} days before {day:%Y-%m-%d}; import newer events or "
            "choose an earlier --as-of."
        )
    raise TooLittleData(sentence.format(days=active_within_days, day=lake.local(as_of)))


def spend_per_order_day(customers: Snapshot | Buyers) -> np.ndarray:
    """Return the expected spend per order day (Gamma-Gamma), (n,); 0 without amounts."""
    if customers.spend is None:
        return np.zeros(len(customers.frame))
    days = customers.frame.order_days.to_numpy(dtype=float)
    mean = np.maximum(customers.frame.spend_all.to_numpy(dtype=float) / days, 0)
    return customers.spend.expected(days, mean)


def expected_spend(snapshot: Snapshot | Buyers, horizon_days: int) -> np.ndarray:
    """Return the expected spend in one horizon if customers stay, (n,).

    Parameters
    ----------
    snapshot : Snapshot or Buyers
    horizon_days : int
    """
    x, _, age = purchase_history(snapshot.frame)
    rate = snapshot.purchases.rate_if_alive(x, age)
    return np.maximum(rate * horizon_days * spend_per_order_day(snapshot), 0)


def next_order(snapshot: Snapshot | Buyers) -> pd.Series:
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
