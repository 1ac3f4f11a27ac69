"""Order days in each quarter of H before the cutoff.

The input of `retention.value.hidden_markov`. A customer has one row: counts of 0, 1, 2 and 3 or
more take two bits each of two integers.
"""

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import ibis
import numpy as np

from retention.features.build import NOW_PLACEHOLDER, FeatureTables, place, run_compiled
from retention.features.visits import DAY, seconds
from retention.lake.storage.delta_store import to_frame

if TYPE_CHECKING:
    import pandas as pd

PER_HORIZON = 4
MAX_COUNT = 3  # order days; means this many or more
QUARTERS_PER_INTEGER = 30
MAX_QUARTERS = 2 * QUARTERS_PER_INTEGER


def order_day_counts(
    lake: FeatureTables, cutoff: datetime, customers: "pd.Series", *, horizon_days: int
) -> tuple[np.ndarray, np.ndarray]:
    """Count the order days of customers per quarter of H.

    `customers`: (n,) ids; each has an order before the cutoff.
    Returns: (n, quarters) integers up to `MAX_COUNT`, oldest first, at most `MAX_QUARTERS` quarters
    since the first order of all.
    Returns: (n,) index of the quarter with the customer's first order; 0 if it lies before.
    """
    now, spark = int(cutoff.timestamp()), getattr(lake, "spark", None)
    if spark:
        table = packed_counts(spark.table("events", before=cutoff), now, horizon_days)
    else:
        types = {"customer_id": "string", **dict.fromkeys(("oldest", "late", "early"), "int64")}
        events = {"events": lambda: lake.table("events", before=cutoff)}
        table = run_compiled(lake, _compiled_sql(horizon_days), cutoff, types, events)
    rows = to_frame(table).set_index("customer_id").loc[customers].astype(np.int64)
    oldest = rows.oldest.to_numpy()
    width = min(MAX_QUARTERS, int(oldest.max(initial=0)) + 1)
    packed = rows[["late", "early"]].to_numpy()[:, :, None]
    counts = (packed >> (2 * np.arange(QUARTERS_PER_INTEGER))).astype(np.int8) & MAX_COUNT
    newest_first = counts.reshape(len(rows), MAX_QUARTERS)
    return newest_first[:, :width][:, ::-1], np.maximum(width - 1 - oldest, 0)


@lru_cache(maxsize=64)
def _compiled_sql(horizon_days: int) -> str:
    """Compile `packed_counts` to DuckDB's SQL. It has placeholders as in `build`."""
    counts = packed_counts(place("events"), NOW_PLACEHOLDER, horizon_days)
    return str(ibis.to_sql(counts, dialect="duckdb"))


def packed_counts(events: "ibis.Table", now: int, horizon_days: int) -> "ibis.Table":
    """Pack the order days per quarter into integers, one row per customer.

    Returns: ``oldest``: quarter of the first order (0 is the newest); ``late`` and ``early``:
    counts of newer and older quarters.
    """
    bought = events.filter(events.event_type == "purchase")
    second = seconds(bought.occurred_at)
    quarter = (now - second) // (horizon_days * DAY // PER_HORIZON)
    days = bought.select("customer_id", quarter=quarter, day=second // DAY).distinct()
    q = days.group_by("customer_id", "quarter").agg(days=days.count())
    few = ibis.least(q.days, MAX_COUNT).cast("int64")

    def bits(since: int) -> "ibis.Value":
        at = q.quarter - since
        inside = (at >= 0) & (at < QUARTERS_PER_INTEGER)
        power = ibis.literal(4.0) ** ibis.ifelse(inside, at, 0)  # Spark shifts 32 bits only
        weight = power.cast("int64")
        return (few * weight).sum(where=inside).fill_null(0).cast("int64")

    return q.group_by("customer_id").agg(
        oldest=q.quarter.max().cast("int64"), late=bits(0), early=bits(QUARTERS_PER_INTEGER)
    )
