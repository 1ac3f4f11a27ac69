"""Features of every eligible customer at a cutoff: events folded to visits, visits to customers."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from retention.features.catalogue import NAMES

if TYPE_CHECKING:
    import ibis

DAY = 86_400
DIGITS = 9  # engines add floats up in any order; without the last bits the same data gives the same features
_WEEKEND = (2, 3)  # days since 1970-01-01, a Thursday, modulo 7


def build(
    lake: Any, cutoff: datetime, *, horizon_days: int = 28, active_within_days: int | None = 56
) -> "ibis.Table":
    """One row for each customer who ordered before the cutoff (and within ``active_within_days`` of it).

    Parameters
    ----------
    lake
        Anything with ``table("events", before=cutoff)``, such as `retention.lake.Lake`.
    cutoff : datetime
        Aware. Only what occurred, and was known, before it is seen.
    horizon_days : int
        H, by which the windows scale: H/2, H, 2H, 4H.
    active_within_days : int or None
        None: everyone who ever ordered.

    Returns
    -------
    ibis.Table
        ``customer_id`` and the columns of `FEATURES`, as float64; a gap nobody has seen yet is missing.
        Nothing is computed until it is executed.
    """
    events = lake.table("events", before=cutoff)
    visits = _visits(events)
    customers = _customers(_with_gaps(visits, cutoff), horizon_days)
    if active_within_days is not None:
        customers = customers.filter(customers.recency_days <= active_within_days)
    breadth = _breadth(events, cutoff - timedelta(days=4 * horizon_days))
    found = _ratios(customers.left_join(breadth, "customer_id"))
    return found.select("customer_id", **{name: found[name].round(DIGITS) for name in NAMES})


def _visits(events: "ibis.Table") -> "ibis.Table":
    """Events folded to one row a customer, type and order; events without an order id, to one a day.

    The fold comes first and the arithmetic after it: an order has ten lines, and time zones cost most of a scan.
    """
    import ibis

    day = ibis.ifelse(events.order_id.isnull(), events.occurred_at.epoch_seconds() // DAY, ibis.null("int64"))
    visits = events.group_by("customer_id", "event_type", "order_id", day=day)
    return visits.agg(
        occurred_at=events.occurred_at.min(),
        lines=events.count(),
        spend=events.amount.sum().fill_null(0).cast("float64"),
        discount=events.discount.sum().fill_null(0).cast("float64"),
    )


def _with_gaps(visits: "ibis.Table", cutoff: datetime) -> "ibis.Table":
    """Each visit's age in days at the cutoff and, for the first order of a day, the days since the last such day."""
    import ibis

    second = visits.occurred_at.epoch_seconds()
    dated = visits.select(
        "customer_id", "event_type", "lines", "spend", "discount",
        age=(int(cutoff.timestamp()) - second) / float(DAY),
        day=second // DAY,
        is_order=visits.event_type == "purchase",
    )  # fmt: skip
    earlier = dated.day.lag().over(
        ibis.window(group_by=("customer_id", "event_type"), order_by=dated.age.desc())
    )
    gap = dated.day - earlier
    return dated.mutate(gap=ibis.ifelse(dated.is_order & (gap > 0), gap, ibis.null("int64")).cast("float64"))


def _customers(visits: "ibis.Table", horizon_days: int) -> "ibis.Table":
    """Visits folded to one row a customer: counts, sums and gaps by window."""
    v, h = visits, horizon_days
    order = v.is_order

    def orders(days: float, since: float = 0) -> "ibis.Value":
        return (order & (v.age > since) & (v.age <= days)).cast("int64").sum().cast("float64")

    def total(column: "ibis.Value", days: float, since: float = 0) -> "ibis.Value":
        return column.sum(where=order & (v.age > since) & (v.age <= days)).fill_null(0)

    def seen(days: float, *types: str) -> "ibis.Value":
        return v.lines.sum(where=v.event_type.isin(types) & (v.age <= days)).fill_null(0).cast("float64")

    customers = v.group_by("customer_id").agg(
        recency_days=v.age.min(where=order),
        tenure_days=v.age.max(where=order),
        orders_half=orders(h / 2), orders_1h=orders(h), orders_2h=orders(2 * h), orders_4h=orders(4 * h),
        orders_all=order.cast("int64").sum().cast("float64"),
        orders_before=orders(2 * h, h),
        order_days=v.gap.count().cast("float64") + 1,
        gap_mean=v.gap.mean(), gap_median=v.gap.median(), gap_sd=v.gap.std(how="sample"), gap_max=v.gap.max(),
        gap_last=v.gap.argmin(v.age, where=v.gap.notnull()),
        spend_1h=total(v.spend, h), spend_2h=total(v.spend, 2 * h), spend_4h=total(v.spend, 4 * h),
        spend_all=v.spend.sum(where=order).fill_null(0), spend_before=total(v.spend, 2 * h, h),
        discount_4h=total(v.discount, 4 * h), lines_4h=total(v.lines, 4 * h).cast("float64"),
        weekend_share=(v.day % 7).isin(_WEEKEND).cast("float64").mean(where=order),
        redemptions_4h=seen(4 * h, "coupon_redeem"), returns_4h=seen(4 * h, "return"),
        views_1h=seen(h, "view", "search"), carts_1h=seen(h, "cart"), emails_1h=seen(h, "email_open", "email_click"),
    )  # fmt: skip
    return customers.filter(customers.recency_days.notnull())


def _breadth(events: "ibis.Table", since: datetime) -> "ibis.Table":
    """Different items bought since a moment, by customer."""
    import ibis

    start = ibis.literal(since.astimezone(UTC).replace(tzinfo=None))
    recent = events.filter((events.event_type == "purchase") & (events.occurred_at >= start))
    return recent.group_by("customer_id").agg(items_4h=recent.item_id.nunique().cast("float64"))


def _ratios(customers: "ibis.Table") -> "ibis.Table":
    """What follows from the counts of one row; a division by nothing is missing, never infinite."""
    c = customers

    def balance(now: "ibis.Value", before: "ibis.Value") -> "ibis.Value":
        return (now - before) / (now.abs() + before.abs() + 1)

    basket = c.spend_all / c.orders_all
    return c.mutate(
        recency_over_gap=c.recency_days / c.gap_median,
        recency_over_max_gap=c.recency_days / c.gap_max,
        orders_per_30d=30 * c.orders_all / (c.tenure_days + 1),
        trend_orders=balance(c.orders_1h, c.orders_before),
        trend_spend=balance(c.spend_1h, c.spend_before),
        basket_mean=basket,
        basket_ratio=(c.spend_2h / c.orders_2h.nullif(0)) / basket.nullif(0),
        discount_share=(c.discount_4h / (c.spend_4h + c.discount_4h).nullif(0)).fill_null(0),
        lines_per_order=c.lines_4h / c.orders_4h.nullif(0),
        items_4h=c.items_4h.fill_null(0),
    )
