"""How good a model is for each kind of customer: new and repeat, spend, channel, and the shop's own attributes.

Fairness here is calibration within each group (what was expected against what happened) and ranking within it (AUC), on
customers and weeks that the judged fits had not seen.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

MIN_CUSTOMERS = 30  # customers; of fewer nothing is said
VALUE_COUNTS = range(
    2, 9
)  # different values that an attribute may have to make groups of without being asked for
OTHER = "other"  # the rest of an attribute that was asked for and has more of them
MAX_ROWS = 200_000


def by_segment(
    frame: pd.DataFrame,
    churned: np.ndarray,
    said: np.ndarray,
    attributes: pd.DataFrame | None = None,
    *,
    tiers: tuple[float, float] | None = None,
) -> list[dict[str, Any]]:
    """One row a group of customers.

    Parameters
    ----------
    frame : pandas.DataFrame
        (n,) customers with their features; of several moments one after another.
    churned, said : numpy.ndarray
        (n,) labels and probabilities.
    attributes : pandas.DataFrame, optional
        Indexed by customer id, one column an attribute.
    tiers : (float, float), optional
        Probabilities from which a customer is in the high and in the medium tier.

    Returns
    -------
    list of dict
        ``segment``, ``value``, ``customers``, ``expected`` and ``observed`` churn rate, and ``auc``; None where only one
        thing happened.
    """
    groups = [*_groups(frame, attributes), *_tiers(said, tiers)]
    return [
        _row(segment, value, churned[keep], said[keep])
        for segment, value, keep in groups
        if keep.sum() >= MIN_CUSTOMERS
    ]


def customer_attributes(lake: Any, wanted: Sequence[str] = ()) -> pd.DataFrame:
    """The attributes of customers, indexed by customer id.

    Parameters
    ----------
    lake : Lake
    wanted : sequence of str, optional
        Names that were asked for: of more values than make groups the commonest stay, the others are one. Without any,
        all attributes of few different values. A name that no customer has is left out.
    """
    people = lake.table("customers").select("customer_id", "attributes").limit(MAX_ROWS).execute()
    people = people[people.attributes.notna()]
    told = pd.DataFrame(people.attributes.map(json.loads).tolist(), index=people.customer_id)
    if wanted:
        return told[[name for name in wanted if name in told]].apply(_keep_frequent)
    return told[[name for name in told.columns if told[name].astype(str).nunique() in VALUE_COUNTS]]


def _keep_frequent(values: pd.Series) -> pd.Series:
    texts = values.astype(str).where(values.notna())
    counted = texts.value_counts()
    if len(counted) in VALUE_COUNTS:
        return values
    return values.where(texts.isin(counted.index[: VALUE_COUNTS.stop - 2]) | values.isna(), OTHER)


def _row(segment: str, value: str, churned: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    both = 0 < churned.sum() < len(churned)
    return {
        "segment": segment,
        "value": value,
        "customers": len(churned),
        "expected": float(said.mean()),
        "observed": float(churned.mean()),
        "auc": float(roc_auc_score(churned, said)) if both else None,
    }


def _tiers(
    said: np.ndarray, edges: tuple[float, float] | None
) -> Iterable[tuple[str, str, np.ndarray]]:
    if edges is None:
        return
    high, medium = edges
    yield "tier", "high", said >= high
    yield "tier", "medium", (said >= medium) & (said < high)
    yield "tier", "low", said < medium


def _groups(
    frame: pd.DataFrame, attributes: pd.DataFrame | None
) -> Iterable[tuple[str, str, np.ndarray]]:
    once = (frame.orders_all <= 1).to_numpy()
    yield "orders so far", "one", once
    yield "orders so far", "two or more", ~once
    third = frame.spend_all.rank(pct=True, method="average").to_numpy()
    for value, low, high in (
        ("lowest third", -1, 1 / 3),
        ("middle third", 1 / 3, 2 / 3),
        ("highest third", 2 / 3, 1),
    ):
        yield "spend so far", value, (third > low) & (third <= high)
    if "online_share" in frame:
        online = frame.online_share.to_numpy(dtype=float, na_value=np.nan)
        if np.unique(online[~np.isnan(online)] > 0.5).size > 1:
            yield "channel", "mostly online", online > 0.5
            yield "channel", "mostly elsewhere", online <= 0.5
    if attributes is None:
        return
    own = attributes.reindex(frame.customer_id)
    for name in own.columns:
        values = own[name].astype(str).where(own[name].notna())
        for value in sorted(values.dropna().unique()):
            yield str(name), str(value), (values == value).to_numpy()
