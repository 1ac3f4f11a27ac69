"""Tell business time, which can be moved, and real time.

`now()` is business time: cutoffs, schedules, expiry of approvals and coupons, measurement windows.
The time machine and ``RETENTION_NOW`` move it. Its offset is in the SQL database, so all processes
agree. `wall()` is real time: leases, heartbeats, rate limits, signature age, trigger ids.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import available_timezones

_frozen: ContextVar[datetime | None] = ContextVar("business time held", default=None)
_offset: Callable[[], timedelta] = timedelta
_fixed: datetime | None = None


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
