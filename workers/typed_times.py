"""Parse days, durations and times as people write them."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from retention.errors import BadInput
from retention.text import gettext

MAX_DAYS = 3650
SOME_DAYS = gettext("a number of days from 1 to {most:,}").format(most=MAX_DAYS)


def days(value: Any) -> Any:
    """Convert ``28d`` or ``4w`` to days."""
    if isinstance(value, str) and (
        match := re.fullmatch(r"\s*(\d{1,4})\s*([dw]?)\s*", value.lower())
    ):
        count = int(match[1]) * (7 if match[2] == "w" else 1)
        if not 1 <= count <= MAX_DAYS:
            text = gettext("{value!r} is not {some_days}; write it like 28d or 4w.")
            raise BadInput(text.format(value=value, some_days=SOME_DAYS))
        return count
    return value


def days_or_ever(value: Any) -> Any:
    """Convert ``56d`` to 56 and ``ever`` to None."""
    return None if isinstance(value, str) and value.strip().lower() == "ever" else days(value)


def seconds(value: Any) -> Any:
    """Convert ``90s``, ``5m`` or ``1h`` to seconds."""
    if isinstance(value, str) and (
        match := re.fullmatch(r"\s*(\d{1,5})\s*([smh])\s*", value.lower())
    ):
        return int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
    return value


YEARS = range(1970, 2200)
A_DATE = gettext(
    "a date from {first} to {last}; write it like 2017-10-02 or 2017-10-02T09:00"
).format(first=YEARS[0], last=YEARS[-1])


def moment(text: str) -> datetime:
    """Parse an ISO 8601 time."""
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        parsed = None
    if parsed is None or parsed.year not in YEARS:
        raise BadInput(gettext("{text!r} is not {a_date}").format(text=text, a_date=A_DATE))
    return parsed


def day_or_moment(text: str) -> date:
    """Parse an ISO 8601 time, or a day alone, which means its end."""
    parsed = moment(text)
    return parsed.date() if re.fullmatch(r"[\d-]+", text.strip()) else parsed


def utc(value: Any) -> Any:
    """Parse an ISO 8601 time, by default in UTC.

    Commands read times without a zone by the shop's clock (`bot.commands.tree`).
    """
    value = moment(value) if isinstance(value, str) else value
    return (
        value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
    )


def due_at(slot: date, at: str, timezone: str) -> datetime:
    """Return a slot's due time in UTC.

    `at`: local time ``HH:MM``.
    Returns: timezone-aware time.
    """
    return datetime.combine(slot, time.fromisoformat(at), ZoneInfo(timezone)).astimezone(UTC)


def next_local_time(at: time, zone: tzinfo, after: datetime) -> datetime:
    """Return the first moment after another at which local clocks show a time of day.

    Examples
    --------
    >>> noon = datetime(2025, 7, 21, 12, tzinfo=UTC)
    >>> f"{next_local_time(time(3), ZoneInfo('Europe/London'), noon):%a %H:%M}"
    'Tue 02:00'
    """
    day = after.astimezone(zone).date()
    # An hour that clocks skip may put today's and tomorrow's moment before `after`.
    moments = (
        datetime.combine(day + timedelta(days=number), at, zone).astimezone(UTC)
        for number in range(3)
    )
    return next(moment for moment in moments if moment > after)
