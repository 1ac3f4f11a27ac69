"""Days with an order in each quarter of H, counted back from the cutoff: what `retention.value.hidden_markov` learns from.

A customer has one row, whatever their history: the counts, of which it matters whether they are 0, 1, 2 or more, take two
bits each of two integers.
"""

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.features.build import NOW, PLACE, TYPES
from retention.features.visits import DAY, seconds
from retention.lake.store import to_frame

if TYPE_CHECKING:
    import ibis
    import pandas as pd

OF_HORIZON = 4
FEW = 3  # days; as many or more
PACKED = 30  # quarters an integer
MOST = 2 * PACKED  # quarters that are looked at


def counts(
    lake: Any, cutoff: datetime, customers: "pd.Series", *, horizon_days: int
) -> tuple[np.ndarray, np.ndarray]:
    """The order days of these customers, each of whom ordered before the cutoff.

    Returns
    -------
    counts : numpy.ndarray
        (n, quarters) integers up to `FEW`, oldest first, from the first order of all on, at most `MOST`.
    begun : numpy.ndarray
        (n,) place of the quarter of each one's first order; 0 where it lies before.
    """
    now, spark = int(cutoff.timestamp()), getattr(lake, "spark", None)
    if spark:
        table = packed(spark.table("events", before=cutoff), now, horizon_days)
    else:
        events = lake.table("events", before=cutoff).get_name()
        sql = (
            _sql(horizon_days)
            .replace(str(NOW), str(now))
            .replace(f'"{PLACE}events"', f'"{events}"')
        )
        table = lake.query(
            sql, {"customer_id": "string", "oldest": "int64", "late": "int64", "early": "int64"}
        )
    found = to_frame(table)
    found = found.set_index("customer_id").loc[customers]  # whole integers: never by way of floats
    oldest = found.oldest.to_numpy(dtype=np.int64)
    width = min(MOST, int(oldest.max(initial=0)) + 1)
    newest_first = np.column_stack(
        [
            (found[name].to_numpy(dtype=np.int64)[:, None] >> (2 * np.arange(PACKED))).astype(
                np.int8
            )
            & FEW
            for name in ("late", "early")
        ]
    )
    return newest_first[:, :width][:, ::-1], np.maximum(width - 1 - oldest, 0)


@lru_cache(maxsize=64)
def _sql(horizon_days: int) -> str:
    """`packed` in DuckDB's SQL, with places for the moment and the table, as in `build`."""
    import ibis

    events = ibis.table(TYPES["events"], name=f"{PLACE}events")
    return str(ibis.to_sql(packed(events, NOW, horizon_days), dialect="duckdb"))


def packed(events: "ibis.Table", now: int, horizon_days: int) -> "ibis.Table":
    """One row a customer: the quarter of the first order (0 is the newest), and the days of the newer and the older ones.

    Parameters
    ----------
    events : ibis.Table
        Of before the moment.
    now : int
        The moment, in seconds since 1970.
    """
    import ibis

    bought = events.filter(events.event_type == "purchase")
    second = seconds(bought.occurred_at)
    quarter = (now - second) // (horizon_days * DAY // OF_HORIZON)
    days = bought.select("customer_id", quarter=quarter, day=second // DAY).distinct()
    q = days.group_by("customer_id", "quarter").agg(days=days.count())
    few = ibis.least(q.days, FEW).cast("int64")

    def bits(since: int) -> "ibis.Value":
        place = q.quarter - since
        inside = (place >= 0) & (place < PACKED)
        weight = (ibis.literal(4.0) ** ibis.ifelse(inside, place, 0)).cast(
            "int64"
        )  # Spark shifts 32 bits only
        return (few * weight).sum(where=inside).fill_null(0).cast("int64")

    return q.group_by("customer_id").agg(
        oldest=q.quarter.max().cast("int64"), late=bits(0), early=bits(PACKED)
    )
