"""Tell business time, which can be moved, and real time, and the quiet hours of customers.

`now()` is business time: cutoffs, schedules, expiry of approvals and coupons, measurement windows.
The time machine and ``RETENTION_NOW`` move it. Its offset is in the SQL database, so all processes
agree. `wall()` is real time: leases, heartbeats, rate limits, signature age, trigger ids.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, time, timedelta
from functools import cache, lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from retention.text import gettext

_frozen: ContextVar[datetime | None] = ContextVar("business time held", default=None)
_offset: Callable[[], timedelta] = timedelta
_fixed: datetime | None = None
_SPAN = re.compile(r"\s*([01]?\d|2[0-3]):([0-5]\d)\s*[-–]\s*([01]?\d|2[0-3]):([0-5]\d)\s*")


def configure(
    *, offset: Callable[[], timedelta] | None = None, fixed: datetime | None = None
) -> None:
    """Set the source of business time.

    It is a fixed time, or an offset to real time that each call reads.
    """
    global _offset, _fixed
    _offset = offset or timedelta
    _fixed = fixed.astimezone(UTC) if fixed else None


@contextmanager
def frozen(at: datetime | None = None) -> Iterator[None]:
    """Keep business time fixed within this block and thread."""
    token = _frozen.set(now() if at is None else at)
    try:
        yield
    finally:
        _frozen.reset(token)


def now() -> datetime:
    """Return business time, aware, in UTC."""
    if (moment := _frozen.get()) is not None:
        return moment
    return _fixed if _fixed is not None else wall() + _offset()


def wall() -> datetime:
    """Return real time, aware, in UTC."""
    return datetime.now(UTC)


def business(at: datetime) -> datetime:
    """Convert a recent real time to business time, by their present difference.

    People read it beside other business times. Store real time.

    Examples
    --------
    >>> with frozen(datetime(2017, 10, 2, 13, tzinfo=UTC)):
    ...     f"{business(wall()):%Y-%m-%d}"
    '2017-10-02'
    """
    return at + (now() - wall())


@cache
def time_zones() -> frozenset[str]:
    """Return the names of the IANA time zones. Listing them reads several hundred files."""
    return frozenset(available_timezones())


class QuietHours(NamedTuple):
    """Local times [start, end) without sending. An end before the start is on the next day."""

    start: time
    end: time

    def contains(self, at: time) -> bool:
        """Whether a local time is in the quiet hours."""
        if self.start <= self.end:
            return self.start <= at < self.end
        return at >= self.start or at < self.end


@lru_cache(maxsize=64)
def parse_quiet_hours(text: str) -> QuietHours | None:
    """Parse ``21:00-08:00``; empty text or equal times mean none."""
    if not text.strip():
        return None
    if (match := _SPAN.fullmatch(text)) is None:
        sentence = gettext(
            'quiet hours {text!r} are none; write them like "21:00-08:00", or "" for none'
        )
        raise ValueError(sentence.format(text=text))
    start_hour, start_minute, end_hour, end_minute = map(int, match.groups())
    quiet = QuietHours(time(start_hour, start_minute), time(end_hour, end_minute))
    return None if quiet.start == quiet.end else quiet


@lru_cache(maxsize=1024)
def customer_zone(name: str | None, default: ZoneInfo) -> ZoneInfo:
    """Return the customer's time zone, or the shop's default.

    `name`: IANA name; empty or unknown names give the default.
    """
    try:
        return ZoneInfo(name) if name else default
    except (KeyError, ValueError, OSError):  # unknown zone, invalid name, or a folder
        return default


def next_allowed(now: datetime, zone: ZoneInfo, quiet: QuietHours | None) -> datetime:
    """Return the first moment outside quiet hours.

    `zone`: the customer's time zone.
    Returns: in UTC. ``now`` itself outside quiet hours, else their end.

    Notes
    -----
    An end skipped by the clock (spring) moves by one hour. An end that occurs twice (autumn) is the
    first one still ahead.
    """
    local = now.astimezone(zone)
    if quiet is None or not quiet.contains(local.time()):
        return now.astimezone(UTC)
    day = local.date() if local.time() < quiet.end else local.date() + timedelta(days=1)
    end = datetime.combine(day, quiet.end, zone)
    end_utc = end.astimezone(UTC)
    return end_utc if end_utc > now else end.replace(fold=1).astimezone(UTC)
