"""Two clocks.

`now()` is business time: cutoffs, schedules, expiry of approvals and coupons, measurement windows. The time machine
and ``RETENTION_NOW`` move it; its offset lives in the SQL database, so that all processes agree.
`wall()` is real time and never moves: leases, heartbeats, pacing, signature age, trigger ids.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

_held: ContextVar[datetime | None] = ContextVar("business time held", default=None)
_offset: Callable[[], timedelta] = timedelta
_fixed: datetime | None = None


def configure(
    *, offset: Callable[[], timedelta] | None = None, fixed: datetime | None = None
) -> None:
    """Say where business time comes from: a fixed moment, or an offset to real time read at every call."""
    global _offset, _fixed
    _offset = offset or timedelta
    _fixed = fixed.astimezone(UTC) if fixed else None


@contextmanager
def held() -> Iterator[None]:
    """Within this block (and this thread) business time is read once: many things happen at one moment."""
    token = _held.set(now())
    try:
        yield
    finally:
        _held.reset(token)


def now() -> datetime:
    """Business time, aware, in UTC."""
    if (moment := _held.get()) is not None:
        return moment
    return _fixed if _fixed is not None else wall() + _offset()


def wall() -> datetime:
    """Real time, aware, in UTC."""
    return datetime.now(UTC)
