"""Evaluate a model by customer segment.

Segments are orders so far, spend, channel, tier and the shop's own attributes. Fairness means
calibration within each segment (expected and observed churn) and ranking within it (AUC), on
out-of-sample predictions.
"""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

if TYPE_CHECKING:
    from retention.lake import Lake

MIN_CUSTOMERS = 30  # per segment
VALUE_COUNTS = range(2, 9)  # distinct values of an attribute for automatic segments
OTHER = "other"  # rare values of a requested attribute
MAX_ROWS = 200_000


def by_segment(
    frame: pd.DataFrame,
    churned: np.ndarray,
    probabilities: np.ndarray,
    attributes: pd.DataFrame | None = None,
    *,
    tiers: tuple[float, float] | None = None,
) -> list[dict[str, Any]]:
    """Compute expected and observed churn per segment.

    `frame`: (n,) customers with their features; several moments one after another.
    `tiers`: probabilities of the high and the medium tier.
    Returns: ``segment``, ``value``, ``customers``, ``expected`` and ``observed`` churn rate, and
    ``auc`` (None with one class).
    """
    groups = [*_groups(frame, attributes), *_tiers(probabilities, tiers)]
    return [
        _row(segment, value, churned[mask], probabilities[mask])
        for segment, value, mask in groups
        if mask.sum() >= MIN_CUSTOMERS
    ]


def customer_attributes(lake: "Lake", names: Sequence[str] = ()) -> pd.DataFrame:
    """Return the attributes of customers, indexed by customer id.

    `names`: rare values of these attributes are merged into one. Unknown names are left out. By
    default all attributes with few distinct values.
    """
    customers = (
        lake.table("customers").select("customer_id", "attributes").limit(MAX_ROWS).execute()
    )
    customers = customers[customers.attributes.notna()]
    index = customers.customer_id
    attributes = pd.DataFrame(customers.attributes.map(json.loads).tolist(), index=index)
    if names:
        return attributes[[name for name in names if name in attributes]].apply(_keep_frequent)
    columns = attributes.columns
    return attributes[
        [name for name in columns if attributes[name].astype(str).nunique() in VALUE_COUNTS]
    ]


def _keep_frequent(values: pd.Series) -> pd.Series:
    texts = values.astype(str).where(values.notna())
    counts = texts.value_counts()
    if len(counts) in VALUE_COUNTS:
        return values
    return values.where(texts.isin(counts.index[: VALUE_COUNTS.stop - 2]) | values.isna(), OTHER)


def _row(
    segment: str, value: str, churned: np.ndarray, probabilities: np.ndarray
) -> dict[str, Any]:
    has_both = 0 < churned.sum() < len(churned)
    return {
        "segment": segment,
        "value": value,
        "customers": len(churned),
        "expected": float(probabilities.mean()),
        "observed": float(churned.mean()),
        "auc": float(roc_auc_score(churned, probabilities)) if has_both else None,
    }


def _tiers(
    probabilities: np.ndarray, edges: tuple[float, float] | None
) -> Iterable[tuple[str, str, np.ndarray]]:
    if edges is None:
        return
    high, medium = edges
    yield "tier", "high", probabilities >= high
    yield "tier", "medium", (probabilities >= medium) & (probabilities < high)
    yield "tier", "low", probabilities < medium


def _groups(
    frame: pd.DataFrame, attributes: pd.DataFrame | None
) -> Iterable[tuple[str, str, np.ndarray]]:
    has_one_order = (frame.orders_all <= 1).to_numpy()
    yield "orders so far", "one", has_one_order
    yield "orders so far", "two or more", ~has_one_order
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
    customer_values = attributes.reindex(frame.customer_id)
    for name in customer_values.columns:
        values = customer_values[name].astype(str).where(customer_values[name].notna())
        for value in sorted(values.dropna().unique()):
            yield str(name), str(value), (values == value).to_numpy()
