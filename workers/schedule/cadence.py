"""Parse and print when a schedule runs: ``mon 09:00``, ``daily 09:00``, ``1st 09:00``."""

import calendar
import difflib
import re
from dataclasses import dataclass
from datetime import date

from retention.errors import BadInput
from retention.text import gettext

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LONG_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
LAST_WORKING_DAY = -1
_LAST = "last-working-day"
_TIME = re.compile(r"(\d{1,2})[:.](\d{2})")
_NTH = re.compile(r"(\d{1,2})(?:st|nd|rd|th)?")
_EXAMPLES = "mon 09:00, daily 09:00, 1st 09:00, last-working-day 09:00"


@dataclass(frozen=True, slots=True)
class Cadence:
    """The days of a schedule and its local time.

    `at`: ``HH:MM``.
    `weekday`: 0 (Monday) to 6. Without ``weekday`` and ``monthday``: every day.
    `monthday`: 1 to 31; shorter months use their last day. `LAST_WORKING_DAY`: the last Monday to
    Friday.
    """

    at: str
    weekday: int | None = None
    monthday: int | None = None

    def __str__(self) -> str:
        if self.monthday == LAST_WORKING_DAY:
            return f"{_LAST} {self.at}"
        if self.monthday is not None:
            return f"{ordinal(self.monthday)} {self.at}"
        return f"{'daily' if self.weekday is None else DAYS[self.weekday]} {self.at}"

    def includes(self, day: date) -> bool:
        """Return whether a local day is one of the schedule's."""
        if self.monthday is not None:
            last = calendar.monthrange(day.year, day.month)[1]
            if self.monthday == LAST_WORKING_DAY:
                weekend = max(date(day.year, day.month, last).weekday() - 4, 0)
                return day.day == last - weekend
            return day.day == min(self.monthday, last)
        return self.weekday is None or day.weekday() == self.weekday


def ordinal(number: int) -> str:
    """Return ``1st``, ``2nd``, ``3rd``, ``4th`` and so on."""
    teen = 10 <= number % 100 <= 20
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def parse_every(text: str) -> Cadence:
    """Parse the value of ``--every``.

    `text`: days, then a time.
    """
    words = text.lower().replace("-", " ").split()
    words = [
        word for word in words if word not in ("every", "weekly", "monthly", "at", "the", "on")
    ]
    time = _TIME.fullmatch(words[-1]) if words else None
    if time is None or int(time[1]) > 23 or int(time[2]) > 59:
        sentence = gettext(
            "--every is {text!r}; end it with a time of day like 09:00. Examples: {examples}."
        )
        raise BadInput(sentence.format(text=text, examples=_EXAMPLES))
    at, days = f"{int(time[1]):02}:{time[2]}", " ".join(words[:-1])
    if days in ("daily", "day", ""):
        return Cadence(at)
    if days in ("last working day", "last workday", "last business day"):
        return Cadence(at, monthday=LAST_WORKING_DAY)
    for number, (short, long) in enumerate(zip(DAYS, LONG_DAYS, strict=True)):
        if days in (short, long, f"{long}s"):
            return Cadence(at, weekday=number)
    nth = _NTH.fullmatch(days)
    if nth and 1 <= int(nth[1]) <= 31:
        return Cadence(at, monthday=int(nth[1]))
    nearest = difflib.get_close_matches(days, [*DAYS, *LONG_DAYS, "daily", "last working day"], 1)
    if nearest:
        message = gettext("--every is {text!r}; {days!r} is no day. Did you mean {nearest}?")
    else:
        message = gettext("--every is {text!r}; {days!r} is no day. Examples: {examples}.")
    raise BadInput(
        message.format(text=text, days=days, nearest="".join(nearest), examples=_EXAMPLES)
    )
