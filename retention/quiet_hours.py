"""Quiet hours: when a customer is not to be disturbed, in the customer's own time zone. Pure functions of a moment."""

import re
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

_SPAN = re.compile(r"\s*([01]?\d|2[0-3]):([0-5]\d)\s*[-–]\s*([01]?\d|2[0-3]):([0-5]\d)\s*")


class Quiet(NamedTuple):
    """Local times [start, end) in which nothing is sent; an end before the start is on the next day."""

    start: time
    end: time

    def holds(self, at: time) -> bool:
        """Whether a local time of day is quiet."""
        if self.start <= self.end:
            return self.start <= at < self.end
        return at >= self.start or at < self.end


@lru_cache(maxsize=64)
def parsed(text: str) -> Quiet | None:
    """``21:00-08:00`` → the span; an empty text (or two equal times) → None, there are no quiet hours.

    Raises
    ------
    ValueError
        Naming the text and how to write it.
    """
    if not text.strip():
        return None
    if (found := _SPAN.fullmatch(text)) is None:
        raise ValueError(
            f'quiet hours {text!r} are none; write them like "21:00-08:00", or "" for none'
        )
    first, second, third, fourth = map(int, found.groups())
    quiet = Quiet(time(first, second), time(third, fourth))
    return None if quiet.start == quiet.end else quiet


@lru_cache(maxsize=1024)
def zone_of(name: str | None, default: ZoneInfo) -> ZoneInfo:
    """The customer's zone; the shop's where they have none, or one that does not exist."""
    try:
        return ZoneInfo(name) if name else default
    except (KeyError, ValueError, OSError):  # no such zone, no zone's name, a folder of zones
        return default


def next_allowed(now: datetime, zone: ZoneInfo, quiet: Quiet | None) -> datetime:
    """The first moment from ``now`` on at which somebody in ``zone`` may be written to.

    Parameters
    ----------
    now : datetime
        Aware.
    zone : ZoneInfo
        The customer's (`zone_of`).
    quiet : Quiet or None
        Local hours in which nothing is sent.

    Returns
    -------
    datetime
        UTC; ``now`` itself outside quiet hours, else the moment at which they end.

    Notes
    -----
    An end that the clock skips (in spring) is taken an hour later; one that comes twice (in autumn) at its first time
    that is not over.
    """
    here = now.astimezone(zone)
    if quiet is None or not quiet.holds(here.time()):
        return now.astimezone(UTC)
    day = here.date() if here.time() < quiet.end else here.date() + timedelta(days=1)
    end = datetime.combine(day, quiet.end, zone)
    found = end.astimezone(UTC)
    return found if found > now else end.replace(fold=1).astimezone(UTC)
