"""Count customers and sum up sales: the plain figures of a shop."""

from collections.abc import Collection
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from retention.audiences.evaluate import customer_facts
from retention.db import Transaction
from retention.lake.coverage import time_range
from retention.lake.lake import naive
from retention.privacy import pseudonym

if TYPE_CHECKING:
    from retention.lake import Lake

_FACTS = ("orders", "spent", "first_order", "last_order")
# The columns that sort a list, and whether less comes first: days since the first order.
_ORDERS = {
    "spent": (["spent", "orders"], False),
    "orders": (["orders", "spent"], False),
    "newest": (["first_order", "last_order"], True),
}


def customer_figures(
    lake: "Lake",
    session: Transaction,
    as_of: datetime,
    *,
    active_days: int | None,
    customers: Collection[str] | None,
    order: str,
    top: int,
) -> dict[str, Any]:
    """Count a shop's customers, or some of them, and list the first ones by pseudonym."""
    frame = customer_facts(lake, session, None, as_of, extra_fields=_FACTS)
    if customers is not None:
        frame = frame[frame.index.isin(list(customers))]
    buyers = frame[frame["orders"] > 0]
    columns, ascending = _ORDERS[order]
    first = buyers.reset_index(names="id").sort_values(
        [*columns, "id"], ascending=[ascending, ascending, True]
    )[:top]
    has_amounts = bool((buyers["spent"] > 0).any())
    return {
        "as_of": as_of.isoformat(),
        "size": len(frame),
        "buyers": len(buyers),
        "active": None if active_days is None else int((buyers["last_order"] <= active_days).sum()),
        "active_days": active_days,
        "order": order,
        "has_amounts": has_amounts,
        "customers": [
            {
                "customer": pseudonym(session.settings.key, str(row.id)),
                "orders": int(row.orders),
                "spent": round(float(row.spent), 2) if has_amounts else None,
                "first_order": (as_of - timedelta(days=row.first_order)).isoformat(),
                "last_order": (as_of - timedelta(days=row.last_order)).isoformat(),
            }
            for row in first.itertuples()
        ],
    }


def sales_figures(
    lake: "Lake", first: date, last: date, as_of: datetime, customers: Collection[str] | None = None
) -> dict[str, Any]:
    """Sum up the orders of some of the shop's days, and of as many days before."""
    days = (last - first).days + 1
    at = [
        datetime.combine(day, time(), ZoneInfo(lake.zone))
        for day in (first - timedelta(days=days), first, last + timedelta(days=1))
    ]
    events = lake.table("events", as_of)
    bought = events.filter(events.event_type == "purchase", events.customer_id.notnull())
    if customers is not None:
        bought = bought.filter(bought.customer_id.isin(list(customers)))
    before, now = (_period(bought, start, min(end, as_of)) for start, end in pairwise(at))
    oldest = time_range(lake).oldest
    is_comparable = oldest is not None and oldest <= at[0] and at[2] <= as_of
    return {
        "first": first.isoformat(),
        "last": last.isoformat(),
        "days": days,
        "as_of": as_of.isoformat(),
        "is_over": at[2] <= as_of,
        **now,
        "before": before if is_comparable else None,
    }


def _period(bought: Any, start: datetime, end: datetime) -> dict[str, Any]:
    """Return a period's revenue, orders, customers, and how many of them are new."""
    starts = naive(start)
    inside = bought.filter(bought.occurred_at >= starts, bought.occurred_at < naive(end))
    firsts = bought.group_by("customer_id").aggregate(at=bought.occurred_at.min())
    new = firsts.filter(firsts["at"] >= starts, firsts["at"] < naive(end))
    order = inside.order_id.fill_null(inside.customer_id + inside.occurred_at.date().cast("string"))
    row = inside.aggregate(
        revenue=inside.amount.sum(), orders=order.nunique(), customers=inside.customer_id.nunique()
    ).execute()
    revenue = row["revenue"][0]
    return {
        "revenue": round(float(revenue), 2) if revenue == revenue and revenue else 0.0,
        "orders": int(row["orders"][0]),
        "customers": int(row["customers"][0]),
        "new": int(new.count().execute()),
    }
