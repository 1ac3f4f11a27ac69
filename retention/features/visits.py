"""Events folded to visits: one row a customer, kind of event and order, with its age and what it was worth."""

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    import ibis

DAY = 86_400
_EARLIEST = 1990  # of clock changes; what is older keeps the offset of that year


def visits(events: "ibis.Table", now: int) -> "ibis.Table":
    """One row a customer, type and order; events without an order id, one a day.

    The fold comes first and the arithmetic after it: an order has ten lines, and time zones cost most of a scan.
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
    """Whole seconds since 1970. Cut first: DuckDB would round and Spark would cut."""
    return moment.truncate("s").epoch_seconds()


def local(second: "ibis.Value", changes: tuple[tuple[int, int], ...]) -> "ibis.Value":
    """Seconds since 1970 by the clock on the shop's wall: one comparison a row for each change of that clock, newest first."""
    import ibis

    if len(changes) == 1:
        return second + changes[0][1]
    branches = [(second >= since, second + offset) for since, offset in reversed(changes[1:])]
    return ibis.cases(*branches, else_=second + changes[0][1])


@lru_cache(maxsize=8)
def clock_changes(zone: str, until_year: int) -> tuple[tuple[int, int], ...]:
    """(second since 1970, offset in seconds from then on) of each change of a zone's clock, oldest first."""
    at = ZoneInfo(zone)
    first = int(datetime(_EARLIEST, 1, 1, tzinfo=ZoneInfo("UTC")).timestamp())
    last = int(datetime(until_year + 1, 1, 1, tzinfo=ZoneInfo("UTC")).timestamp())
    found = [(first, _offset(at, first))]
    for start in range(first, last, 7 * DAY):
        end = start + 7 * DAY
        if _offset(at, end) != found[-1][1]:
            found.append((_change(at, start, end), _offset(at, end)))
    return tuple(found)


def _offset(zone: ZoneInfo, second: int) -> int:
    shift = datetime.fromtimestamp(second, zone).utcoffset()
    return int(shift.total_seconds()) if shift is not None else 0


def _change(zone: ZoneInfo, low: int, high: int) -> int:
    """The first second of ``(low, high]`` with the offset that ``high`` has."""
    new = _offset(zone, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _offset(zone, middle) == new else (middle, high)
    return high
