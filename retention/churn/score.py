"""Score customers: risk, reasons, expected spend, next order."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from retention.churn.model import TrainedChurn
from retention.churn.model_features import purchase_history
from retention.churn.reasons import SEASON_GROUP, complete_reasons, reasons, weights_by_group
from retention.churn.snapshots import Snapshot, take_snapshot
from retention.errors import TooLittleData
from retention.progress import Progress, part, silent
from retention.text import gettext

MAX_FORECAST_DAYS = 3650  # later orders count as missing
COLUMNS = ("customer_id", "churn_probability", "reasons", "expected_value", "next_order_at")


def score(
    trained: TrainedChurn,
    lake: Any,
    as_of: datetime,
    *,
    customer_ids: Collection[str] | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Score the active customers, or the given ones.

    Parameters
    ----------
    trained : TrainedChurn
    lake : Lake
    as_of : datetime
        Timezone-aware.
    customer_ids : collection of str, optional
        Score these customers, active or not.
    progress : Progress

    Returns
    -------
    pandas.DataFrame
        One row per customer with `COLUMNS`. ``expected_value`` is the expected spend within one
        horizon if the customer stays: posterior purchase rate while alive (BG/NBD) × horizon ×
        expected spend per order day (Gamma-Gamma). Multiply it by the probability to get the spend
        at risk. ``next_order_at`` is the last order plus the usual gap. If that has passed, it is
        ``as_of`` plus the median wait of such customers while alive.

    Raises
    ------
    TooLittleData
        If no customer was active.
    """
    progress(0, 10, gettext("Features as of {day:%d %b %Y}").format(day=lake.local(as_of)))
    active = trained.active_within_days if customer_ids is None else None
    snapshot = population(lake, as_of, horizon_days=trained.horizon_days, active_within_days=active)
    value = expected_spend(snapshot, trained.horizon_days)
    if customer_ids is not None:
        selected = snapshot.frame.customer_id.isin(list(customer_ids)).to_numpy()
        snapshot, value = snapshot.rows(selected), value[selected]
    return score_table(
        trained, snapshot, value, exact_first_weights(trained, snapshot, value, progress)
    )


def exact_first_weights(
    trained: TrainedChurn, snapshot: Snapshot, value: np.ndarray, progress: Progress = silent
) -> dict[str, np.ndarray]:
    """Return the group weights of each customer.

    If not all can be exact, those of the customers with most at stake are.

    Parameters
    ----------
    trained : TrainedChurn
    snapshot : Snapshot
    value : numpy.ndarray
        (n,) expected spend.
    progress : Progress

    Returns
    -------
    dict
        Group → (n,) log-odds.
    """
    X = snapshot.matrix(trained.columns)
    by_stake = np.argsort(-trained.probability(X) * value, kind="stable")
    sorted_weights = weights_by_group(trained, X[by_stake], progress=part(progress, 1, 3))
    original_order = np.argsort(by_stake)
    return {group: values[original_order] for group, values in sorted_weights.items()}


def score_table(
    trained: TrainedChurn, snapshot: Snapshot, value: np.ndarray, weight: dict[str, np.ndarray]
) -> pd.DataFrame:
    """Build the table of scores with reasons in words.

    Before 13 months the season is no reason: the model cannot tell it from a trend. Every customer
    has a reason in each direction; `retention.risk.reasons.reasons_for_tier` selects those of a
    tier.

    Parameters
    ----------
    trained : TrainedChurn
    snapshot : Snapshot
    value : numpy.ndarray
        (n,) expected spend.
    weight : dict
        Group → (n,) log-odds.
    """
    typical = dict(zip(trained.columns, trained.reference, strict=True))
    if snapshot.season is None:
        weight = {group: values for group, values in weight.items() if group != SEASON_GROUP}
    horizon, chance = trained.horizon_days, trained.predict(snapshot)
    listed = reasons(snapshot.frame, weight, typical=typical, horizon_days=horizon)
    churn_rate = trained.parameters.get("train_churn_rate")
    return pd.DataFrame(
        {
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
        }
    )


def population(
    lake: Any, as_of: datetime, *, horizon_days: int, active_within_days: int | None
) -> Snapshot:
    """Take the snapshot of the customers to score.

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
    snapshot = take_snapshot(
        lake,
        as_of,
        horizon_days=horizon_days,
        active_within_days=active_within_days,
        labelled=False,
    )
    if not len(snapshot.frame):
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
    return snapshot


def expected_spend(snapshot: Snapshot, horizon_days: int) -> np.ndarray:
    """Return the expected spend in one horizon if customers stay, (n,).

    Parameters
    ----------
    snapshot : Snapshot
    horizon_days : int
    """
    if snapshot.spend is None:
        return np.zeros(len(snapshot.frame))
    x, _, age = purchase_history(snapshot.frame)
    days = snapshot.frame.order_days.to_numpy(dtype=float)
    mean = np.maximum(snapshot.frame.spend_all.to_numpy(dtype=float) / days, 0)
    rate = snapshot.purchases.rate_if_alive(x, age)
    return np.maximum(rate * horizon_days * snapshot.spend.expected(days, mean), 0)


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
