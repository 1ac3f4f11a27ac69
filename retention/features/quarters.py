"""Order days in each quarter of H before the cutoff.

The input of `retention.value.hidden_markov`. A customer has one row: counts of 0, 1, 2 and 3 or
more take two bits each of two integers.
"""

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

import ibis
import numpy as np

from retention.features.build import NOW_PLACEHOLDER, TABLE_PLACEHOLDER, TABLE_TYPES, FeatureTables
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
        events = lake.table("events", before=cutoff).get_name()
        sql = (
            _compiled_sql(horizon_days)
            .replace(str(NOW_PLACEHOLDER), str(now))
            .replace(f'"{TABLE_PLACEHOLDER}events"', f'"{events}"')
        )
        table = lake.query(
            sql, {"customer_id": "string", "oldest": "int64", "late": "int64", "early": "int64"}
        )
    table_rows = to_frame(table)
    table_rows = table_rows.set_index("customer_id").loc[customers]
    oldest = table_rows.oldest.to_numpy(dtype=np.int64)
    width = min(MAX_QUARTERS, int(oldest.max(initial=0)) + 1)
    newest_first = np.column_stack(
        [
            (
                table_rows[name].to_numpy(dtype=np.int64)[:, None]
                >> (2 * np.arange(QUARTERS_PER_INTEGER))
            ).astype(np.int8)
            & MAX_COUNT
            for name in ("late", "early")
        ]
    )
    return newest_first[:, :width][:, ::-1], np.maximum(width - 1 - oldest, 0)


@lru_cache(maxsize=64)
def _compiled_sql(horizon_days: int) -> str:
    """Compile `packed_counts` to DuckDB's SQL. It has placeholders as in `build`."""
    events = ibis.table(TABLE_TYPES["events"], name=f"{TABLE_PLACEHOLDER}events")
    return str(ibis.to_sql(packed_counts(events, NOW_PLACEHOLDER, horizon_days), dialect="duckdb"))


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
        place = q.quarter - since
        inside = (place >= 0) & (place < QUARTERS_PER_INTEGER)
        power = ibis.literal(4.0) ** ibis.ifelse(inside, place, 0)  # Spark shifts 32 bits only
        weight = power.cast("int64")
        return (few * weight).sum(where=inside).fill_null(0).cast("int64")

    return q.group_by("customer_id").agg(
        oldest=q.quarter.max().cast("int64"), late=bits(0), early=bits(QUARTERS_PER_INTEGER)
    )
