"""Count a week's active, new, returned and lapsed customers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import ibis

if TYPE_CHECKING:
    from retention.lake import Lake

WEEK = timedelta(days=7)
SHOWN = 12  # weeks in the chart


@dataclass(frozen=True, slots=True)
class Week:
    """A week's activity and the week's before.

    They are the seven days of the shop's calendar before ``until``, and the seven before those.

    ``active``: with an order. ``new``: first order ever. ``returned``: order after at least
    ``quiet_days`` of silence. ``lapsed``: such a silence was completed in the week and lasted to
    its end. Later orders do not change ``lapsed_before``, so the two weeks compare. ``simulated``
    lines are the demo's responses to campaigns.
    """

    since: datetime
    until: datetime
    quiet_days: int
    active: int
    active_before: int
    orders: int
    orders_before: int
    revenue: float
    revenue_before: float
    new: int
    returned: int
    lapsed: int
    lapsed_before: int
    simulated: int
    weeks: tuple[tuple[datetime, int], ...]


def week(lake: "Lake", until: datetime, quiet_days: int) -> Week:
    """Count the week before ``until``.

    Later data is not used.

    `quiet_days`: days of silence after which a customer has lapsed.
    """
    from retention.lake.lake import naive

    starts = _week_starts(lake, until)
    events = lake.table("events", before=until)
    bought = events.filter(events.event_type == "purchase", events.customer_id.notnull())
    ago = (int(until.timestamp()) - bought.occurred_at.epoch_seconds()).cast("float64") / 86_400
    order = ibis.coalesce(
        bought.order_id, bought.customer_id + bought.occurred_at.date().cast("string")
    )
    # Not `ago / 7`: a week in which the clocks change is an hour longer or shorter.
    number = sum((bought.occurred_at < naive(start)).cast("int64") for start in starts)
    bought = bought.mutate(ago=ago, week=number, order=order)
    customers = _customers(bought, quiet_days)
    recent = bought.filter(bought.week < SHOWN)
    by_week: Any = (
        recent.group_by("week")
        .aggregate(
            customers=recent.customer_id.nunique(),
            orders=recent.order.nunique(),
            revenue=recent.amount.sum().fill_null(0.0),
            simulated=(recent.source == "simulated").sum().fill_null(0),
        )
        .execute()
        .set_index("week")
    )

    def of(number: int, name: str) -> float:
        return float(by_week[name].get(number, 0))

    return Week(
        since=starts[0],
        until=until,
        quiet_days=quiet_days,
        active=int(of(0, "customers")),
        active_before=int(of(1, "customers")),
        orders=int(of(0, "orders")),
        orders_before=int(of(1, "orders")),
        revenue=of(0, "revenue"),
        revenue_before=of(1, "revenue"),
        simulated=int(of(0, "simulated")),
        weeks=_series(by_week["customers"], starts),
        **customers,
    )


def capped_sales(lake: "Lake", since: datetime, until: datetime, cap: int) -> int:
    """Sum up the sales in whole units, of each customer between 0 and ``cap``."""
    events = lake.table("events", before=until)
    is_recent = events.occurred_at.epoch_seconds() >= int(since.timestamp())
    is_counted = (events.event_type == "purchase", events.customer_id.notnull(), is_recent)
    each = events.filter(*is_counted).group_by("customer_id").aggregate(spend=events.amount.sum())
    spend = each.spend.execute().fillna(0.0)
    return int(spend.clip(0, cap).round().sum())


def _week_starts(lake: "Lake", until: datetime) -> list[datetime]:
    """Return the first moments of the last weeks by the shop's clock, newest first."""
    local = lake.local(until)
    return [(local - WEEK * number).astimezone(UTC) for number in range(1, SHOWN + 1)]


def _customers(bought: Any, quiet_days: int) -> dict[str, int]:
    """Return new, returned and lapsed customers. A silence counts in the week of its last day."""
    each = bought.group_by("customer_id").aggregate(
        first=bought.ago.max(),
        last=bought.ago.min(),
        first_of_week=bought.ago.max(where=bought.ago <= 7),
        last_before=bought.ago.min(where=bought.ago > 7),
    )
    quiet = float(quiet_days)
    totals = each.aggregate(
        new=(each.first <= 7).sum().fill_null(0),
        returned=(each.last_before - each.first_of_week >= quiet).sum().fill_null(0),
        lapsed=((each.last > quiet) & (each.last <= quiet + 7)).sum().fill_null(0),
        lapsed_before=((each.last_before > quiet + 7) & (each.last_before <= quiet + 14))
        .sum()
        .fill_null(0),
    ).execute()
    return {str(name): int(value) for name, value in totals.iloc[0].items()}


def _series(
    customers: Mapping[int, float], starts: Sequence[datetime]
) -> tuple[tuple[datetime, int], ...]:
    """Return each week's first moment and number of customers, oldest first.

    Weeks before the first order are left out.
    """
    oldest = max(customers.keys(), default=0)
    return tuple(
        (starts[number], int(customers.get(number, 0))) for number in range(int(oldest), -1, -1)
    )
