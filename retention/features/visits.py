"""Group events to visits.

A visit is one row per customer, event type and order.
"""

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    import ibis

DAY = 86_400
_FIRST_YEAR = 1990  # of clock changes; older times keep the offset of that year


def visits(events: "ibis.Table", now: int) -> "ibis.Table":
    """Group events by customer, type and order.

    Events without an order id are grouped by day. Grouping comes first: an order has about ten
    lines, and time zones are the most expensive part of a scan.

    Returns: one row per visit, with its age in days, spend, discount, lines, rating, duration and
    channel.
    """
    import ibis

    day = ibis.ifelse(
        events.order_id.isnull(), seconds(events.occurred_at) // DAY, ibis.null("int64")
    )
    folded = events.group_by("customer_id", "event_type", "order_id", day=day).agg(
        occurred_at=events.occurred_at.min(),
        lines=events.count(),
        spend=events.amount.sum().fill_null(0).cast("float64"),
        discount=events.discount.sum().fill_null(0).cast("float64"),
        rating=events.rating.mean(),
        duration=events.duration_s.sum().fill_null(0).cast("float64"),
        channel=events.channel.max(),
    )
    second = seconds(folded.occurred_at)
    return folded.select(
        "customer_id",
        "event_type",
        "lines",
        "spend",
        "discount",
        "rating",
        "duration",
        "channel",
        second=second,
        day=second // DAY,
        age=(now - second) / float(DAY),
    )


def seconds(moment: "ibis.Value") -> "ibis.Value":
    """Return whole seconds since 1970.

    Truncates first, because DuckDB rounds and Spark truncates.
    """
    return moment.truncate("s").epoch_seconds()


def local_seconds(second: "ibis.Value", changes: tuple[tuple[int, int], ...]) -> "ibis.Value":
    """Convert seconds since 1970 to the shop's local clock.

    `changes`: see `clock_changes`. Each change costs one comparison per row.
    """
    import ibis

    if len(changes) == 1:
        return second + changes[0][1]
    branches = [(second >= since, second + offset) for since, offset in reversed(changes[1:])]
    return ibis.cases(*branches, else_=second + changes[0][1])


@lru_cache(maxsize=8)
def clock_changes(zone: str, until_year: int) -> tuple[tuple[int, int], ...]:
    """List the clock changes of a time zone, oldest first.

    Returns: second since 1970 and the offset in seconds from then on.
    """
    at = ZoneInfo(zone)
    first = int(datetime(_FIRST_YEAR, 1, 1, tzinfo=ZoneInfo("UTC")).timestamp())
    last = int(datetime(until_year + 1, 1, 1, tzinfo=ZoneInfo("UTC")).timestamp())
    changes = [(first, _offset(at, first))]
    for start in range(first, last, 7 * DAY):
        end = start + 7 * DAY
        if _offset(at, end) != changes[-1][1]:
            changes.append((_first_second_of_change(at, start, end), _offset(at, end)))
    return tuple(changes)


def _offset(zone: ZoneInfo, second: int) -> int:
    shift = datetime.fromtimestamp(second, zone).utcoffset()
    return int(shift.total_seconds()) if shift is not None else 0


def _first_second_of_change(zone: ZoneInfo, low: int, high: int) -> int:
    """Return the first second of a new offset, in ``(low, high]``."""
    new = _offset(zone, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(zone, middle) == new else (middle, high)
    return high
