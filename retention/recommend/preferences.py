"""What each customer has shown about each item: events weighted by kind, faded by age.

One row for each (customer, item) with everything later steps need: the decayed preference at several half-lives,
when and how often it was bought, and what was looked at without being bought.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from retention.recommend.history import HALF_LIVES, PURCHASE, decayed, pairs, read

if TYPE_CHECKING:
    from pandas import DataFrame

    from retention.lake import Lake

__all__ = ["HALF_LIVES", "bought_between", "buyers", "decayed", "preferences"]


def preferences(
    lake: "Lake",
    cutoff: datetime,
    customer_ids: Sequence[str] | None = None,
    *,
    since: datetime | None = None,
) -> "DataFrame":
    """What customers showed about items before the cutoff.

    Parameters
    ----------
    lake : Lake
    cutoff : datetime
        Nothing at or after it is seen.
    customer_ids : sequence of str, optional
        Only these customers; default all.
    since : datetime, optional
        Only events from here on.

    Returns
    -------
    DataFrame
        One row for each (customer_id, item_id), ordered by them: ``decayed_14`` to ``decayed_240``
        (Σ weight · 2^(−age/half-life), ages in whole days), ``purchase_days`` (distinct days), ``gap_days`` (mean days between them,
        missing below two), ``days_since_purchase``, ``carts``, ``views``, ``days_since``.
    """
    history = read(lake, cutoff, customer_ids, since=since)
    return pairs(history, history.at(cutoff)).frame(history)


def bought_between(
    lake: "Lake", start: datetime, end: datetime, *, known_before: datetime | None = None
) -> "DataFrame":
    """Who bought what in ``[start, end)``: one row for each (customer_id, item_id), in their order.

    The truth of an evaluation, which may also count what was only heard of later; whoever learns from the window
    passes ``known_before``, so that nothing is seen that was not yet known then.
    """
    from retention.lake.lake import naive

    events = lake.table("events", before=known_before)
    window = events.filter(
        events.event_type == PURCHASE,
        events.item_id.notnull(),
        events.customer_id.notnull(),
        events.occurred_at >= naive(start),
        events.occurred_at < naive(end),
    )
    return (
        window.select("customer_id", "item_id")
        .distinct()
        .order_by("customer_id", "item_id")
        .to_pyarrow()
        .to_pandas()
    )


def buyers(lake: "Lake", at: datetime, within: timedelta | None = None) -> dict[str, int]:
    """How many customers bought each item before ``at`` (``within`` of it)."""
    from retention.lake.lake import naive

    events = lake.table("events", before=at)
    bought = events.filter(events.event_type == PURCHASE, events.item_id.notnull())
    if within is not None:
        bought = bought.filter(bought.occurred_at >= naive(at - within))
    counted = bought.group_by("item_id").aggregate(buyers=bought.customer_id.nunique()).execute()
    return dict(zip(counted["item_id"], counted["buyers"].astype(int), strict=True))
