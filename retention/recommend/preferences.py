"""What each customer has shown about each item: events weighted by kind, faded by age.

One row for each (customer, item) with everything later steps need: the decayed preference at several half-lives,
when and how often it was bought, and what was looked at without being bought.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from retention.lake import Lake

PURCHASE, CART, VIEW = "purchase", "cart", "view"

# A purchase is 1. A cart came to about half of one in weight on Taobao's data; the others are judgement until they
# are measured on a shop's own data. A return takes a purchase back; a review counts by its stars (below).
WEIGHTS = {
    PURCHASE: 1.0, CART: 0.5, "coupon_redeem": 0.5, VIEW: 0.1, "search": 0.1, "email_click": 0.1, "return": -1.0,
}  # fmt: skip
NEUTRAL_STARS = 3.0

HALF_LIVES = (30, 90, 240)  # days; which of them fits is tuned on an earlier window
DAY = 86_400


def decayed(half_life: int) -> str:
    """The column that holds the preference faded with this half-life."""
    return f"decayed_{half_life}"


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
        One row for each (customer_id, item_id), ordered by them: ``decayed_30``, ``decayed_90``, ``decayed_240``
        (Σ weight · 2^(−age/half-life), ages in whole days), ``purchase_days`` (distinct days), ``gap_days`` (mean days between them,
        missing below two), ``days_since_purchase``, ``carts``, ``views``, ``days_since``.
    """
    import ibis

    from retention.lake.lake import naive

    events = lake.table("events", before=cutoff)
    known = [*WEIGHTS, "review"]
    events = events.filter(
        events.item_id.notnull(), events.customer_id.notnull(), events.event_type.isin(known)
    )
    if since is not None:
        events = events.filter(events.occurred_at >= naive(since))
    if customer_ids is not None:
        events = events.filter(events.customer_id.isin(list(customer_ids)))

    stars = events.rating.cast("float64").fill_null(NEUTRAL_STARS + 0.5)
    weight = ibis.cases(
        *((events.event_type == kind, value) for kind, value in WEIGHTS.items()),
        else_=(stars - NEUTRAL_STARS) / 2,
    )
    on_day = (events.occurred_at.epoch_seconds() / DAY).floor()
    events = events.mutate(weight=weight, on_day=on_day)
    daily = events.group_by("customer_id", "item_id", "on_day").aggregate(
        weight=events.weight.sum(),
        bought=(events.event_type == PURCHASE).sum(),
        carts=(events.event_type == CART).sum(),
        views=(events.event_type == VIEW).sum(),
    )
    daily = daily.mutate(age=cutoff.timestamp() / DAY - daily.on_day)
    totals = daily.group_by("customer_id", "item_id").aggregate(
        **{
            decayed(half_life): (daily.weight * (daily.age * (-math.log(2) / half_life)).exp()).sum()
            for half_life in HALF_LIVES
        },
        purchase_days=(daily.bought > 0).sum(),
        first_purchase=daily.age.max(where=daily.bought > 0),
        days_since_purchase=daily.age.min(where=daily.bought > 0),
        carts=daily.carts.sum(),
        views=daily.views.sum(),
        days_since=daily.age.min(),
    )
    frame: Any = (
        totals.order_by("customer_id", "item_id").to_pyarrow().to_pandas()
    )  # half the time of execute()
    between = (frame["purchase_days"] - 1).where(frame["purchase_days"] > 1)
    frame["gap_days"] = (frame["first_purchase"] - frame["days_since_purchase"]) / between
    return frame.drop(columns="first_purchase")


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


def buyers(lake: "Lake", at: datetime, days: int | None = None) -> dict[str, int]:
    """How many customers bought each item before ``at`` (within ``days`` of it)."""
    from retention.lake.lake import naive

    events = lake.table("events", before=at)
    bought = events.filter(events.event_type == PURCHASE, events.item_id.notnull())
    if days is not None:
        bought = bought.filter(bought.occurred_at >= naive(at - timedelta(days=days)))
    counted = bought.group_by("item_id").aggregate(buyers=bought.customer_id.nunique()).execute()
    return dict(zip(counted["item_id"], counted["buyers"].astype(int), strict=True))
