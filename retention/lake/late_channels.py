"""Find channels whose orders have stopped arriving.

A shop that imports its web shop daily and its stores weekly has current data in sum, although a
part is missing. So each channel is compared with its own past.
"""

from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retention.lake.lake import Lake

WINDOW = timedelta(days=56)
MIN_DAYS = 14  # with orders, needed to know a channel's usual pauses


def late_channels(lake: "Lake", events: str, now: datetime) -> list[dict[str, Any]]:
    """Return the channels that are silent for longer than ever in the past eight weeks.

    Parameters
    ----------
    lake : Lake
        Source of the connection.
    events : str
        Name of the view of the events.
    now : datetime
        Business time. The day that it is in does not count, because its orders may come later.

    Returns
    -------
    list of dict
        ``channel`` (None for orders without one), ``since`` (ISO date of the first day without
        orders) and ``days`` without orders; the longest first.
    """
    rows = lake.duckdb.execute(
        f'SELECT channel, occurred_at::DATE AS day FROM "{events}" '  # noqa: S608 - own name
        "WHERE event_type = 'purchase' AND occurred_at >= ? GROUP BY ALL ORDER BY ALL",
        [(now - WINDOW).replace(tzinfo=None)],
    ).fetchall()
    days: dict[str | None, list[date]] = {}
    for channel, day in rows:
        days.setdefault(channel or None, []).append(day)
    late = [
        {"channel": channel, "since": (seen[-1] + timedelta(days=1)).isoformat(), "days": silent}
        for channel, seen in days.items()
        if len(seen) >= MIN_DAYS
        and (silent := (now.date() - seen[-1]).days - 1) > _longest_pause(seen)
    ]
    return sorted(late, key=lambda one: -one["days"])


def _longest_pause(days: list[date]) -> int:
    """Return the most days without orders between two days with orders."""
    return max((later - earlier).days - 1 for earlier, later in pairwise(days))
