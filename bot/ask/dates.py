"""Read dates, weekdays and times of day from a sentence."""

import calendar
import re
from datetime import date, timedelta
from functools import cache

from retention.clock import time_zones
from workers.schedule.cadence import ordinal

_UP_TO_TWENTY = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
NUMBER_WORDS = {
    **{word: number for number, word in enumerate(_UP_TO_TWENTY.split(), 1)},
    **{"a": 1, "an": 1, "thirty": 30, "forty": 40, "fifty": 50, "hundred": 100, "dozen": 12},
    **{word: number for number, word in enumerate("一二三四五六七八九十", 1)},
    "两": 2,
}
NUMBER = r"(?:\d+|" + "|".join(sorted(NUMBER_WORDS, key=len, reverse=True)) + ")"
MONTHS = {
    name.lower(): number
    for names in (calendar.month_name, calendar.month_abbr)
    for number, name in enumerate(names)
    if name
}
MONTHS["sept"] = 9
MONTH = "(" + "|".join(sorted(MONTHS, key=len, reverse=True)) + r")\.?"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ZH_WEEKDAYS = "一二三四五六日"
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_PREFIX = r"(?:(?:as of|as at|on|at|since when|for)\s+)?(?:the\s+)?"
_UNIT_DAYS = {"day": 1, "week": 7, "天": 1, "周": 7, "个星期": 7, "星期": 7}


def number(text: str) -> int:
    """Return the value of digits or of a number word, such as 九 or 十一."""
    if text.isdigit():
        return int(text)
    return NUMBER_WORDS[text] if text in NUMBER_WORDS else sum(map(number, text))


def find_day(low: str, today: date) -> tuple[date, int, int] | None:
    """Find the day that a lower-case sentence looks back to, and its span."""
    for pattern, value in _PATTERNS:
        for match in re.finditer(pattern, low):
            try:
                day = value(match, today)
            except ValueError:  # 31 June
                continue
            if day is not None and day <= today:
                return day, match.start(), match.end()
    return None


def find_weekday(low: str) -> tuple[str, int, int] | None:
    """Find the day of a weekly schedule: ``daily`` or an English weekday."""
    if match := re.search(
        r"\b(?:every|each) (?:(?:week)?day|morning|evening|night)\b|\b(?:daily|nightly)\b|每[天日]",
        low,
    ):
        return "daily", *match.span()
    names = "|".join(f"{day[:3]}(?:{day[3:]}|{day[3:5]}|{day[3:4]})?" for day in WEEKDAYS)
    long = "|".join(WEEKDAYS)
    if match := re.search(rf"\b(?:every|each|on) ({names})s?\b|\b({long})s\b", low):
        short = (match[1] or match[2])[:3]
        return next(day for day in WEEKDAYS if day.startswith(short)), *match.span()
    if match := re.search(r"每(?:周|星期|个星期)([一二三四五六日天])", low):
        return WEEKDAYS[_ZH_WEEKDAYS.index(match[1].replace("天", "日"))], *match.span()
    return None


def find_monthday(low: str) -> tuple[str, int, int] | None:
    """Find the day of a monthly schedule, as ``schedule add --every`` writes it."""
    if match := re.search(
        r"\b(?:on )?(?:the )?last (?:working|business) day(?: of (?:the|each|every) month)?\b|"
        r"每个?月(?:的)?最后一个工作日",
        low,
    ):
        return "last-working-day", *match.span()
    match = re.search(
        r"\b(?:on )?(?:the )?(first|\d{1,2})(?:st|nd|rd|th)?(?: day)? of (?:each|every|the) "
        r"month\b|"
        r"每个?月(?:的)?(\d{1,2}|[一二三四五六七八九十]{1,3})[号日]",
        low,
    )
    if match is None:
        return None
    day = 1 if match[1] == "first" else number(match[1] or match[2])
    return (ordinal(day), *match.span()) if 1 <= day <= 31 else None


@cache
def _zones(*, chinese: bool) -> dict[str, str]:
    """Return the time zones by the names of their cities."""
    zones = {"beijing": "Asia/Shanghai", "北京": "Asia/Shanghai"}
    for zone in sorted(time_zones()):
        zones.setdefault(zone.rpartition("/")[2].replace("_", " ").lower(), zone)
        zones.setdefault(zone.lower(), zone)
    if chinese:
        from babel import Locale

        cities = Locale("zh").time_zones
        zones |= {each["city"]: zone for zone, each in cities.items() if "city" in each}
    return zones


def find_zone(low: str) -> tuple[str, int, int] | None:
    """Find a time zone: "in Berlin time"."""
    for match in re.finditer(
        r"\b(?:in |by |on )?(?:((?:[a-z]+ )?[a-z]+|[a-z_]+/[a-z_]+) time(?: ?zone)?)\b|"
        r"(?:按|以|用)?([\u4e00-\u9fff]{2,5})时间",
        low,
    ):
        name = (match[1] or match[2]).removeprefix("the ")
        zones = _zones(chinese=match[2] is not None)
        for part in (name, name.rpartition(" ")[2], *(name[at:] for at in range(1, len(name) - 1))):
            at = match.end(1 if match[1] else 2)
            if part in zones and (match[2] or name.endswith(f" {part}") or part == name):
                start = match.start() if part == name else low.rindex(part, 0, at)
                return zones[part], start, match.end()
    return None


def find_time(low: str) -> tuple[str, int, int] | None:
    """Find a time of day as ``HH:MM``, and its span."""
    if match := re.search(r"\b(?:at )?(noon|midday|midnight)\b", low):
        return "00:00" if match[1] == "midnight" else "12:00", *match.span()
    match = re.search(r"(?:\bat )?\b(\d{1,2})[:.h](\d{2})\b ?(am|pm)?", low) or re.search(
        r"\bat (\d{1,2})()\b ?(am|pm|o'clock)?", low
    )
    if match is None:
        match = re.search(r"(?:\bat )?\b(\d{1,2})() ?(am|pm)\b", low)
    if match:
        hour, minute = int(match[1]), int(match[2] or 0)
        hour = hour % 12 + 12 if match[3] == "pm" else hour % 12 if match[3] == "am" else hour
    elif match := re.search(
        r"(凌晨|早上|上午|中午|下午|晚上)?(\d{1,2}|[一二两三四五六七八九十]{1,2})[点时](半)?", low
    ):
        hour, minute = number(match[2]), 30 if match[3] else 0
        if match[1] in ("下午", "晚上") and hour < 12:
            hour += 12
    else:
        return None
    return (f"{hour:02}:{minute:02}", *match.span()) if hour < 24 and minute < 60 else None


def _iso(match: re.Match[str], _today: date) -> date:
    return date(int(match[1]), int(match[2]), int(match[3]))


def _day_first(match: re.Match[str], _today: date) -> date:
    return date(int(match[3]), int(match[2]), int(match[1]))


def latest(month: int, day: int, year: str | None, today: date) -> date:
    """Return the newest such day that is not in the future, where no year is named."""
    if year:
        return date(int(year), month, day)
    this_year = date(today.year, month, day)
    return this_year if this_year <= today else date(today.year - 1, month, day)


def _end_of_month(match: re.Match[str], today: date) -> date:
    month = MONTHS[match[1]] if not match[1].isdigit() else int(match[1])
    first = latest(month, 1, None, today)
    return first.replace(day=calendar.monthrange(first.year, first.month)[1])


def months_back(count: int, today: date) -> date:
    year, month = divmod(today.year * 12 + today.month - 1 - count, 12)
    return date(year, month + 1, min(today.day, calendar.monthrange(year, month + 1)[1]))


def _ago(match: re.Match[str], today: date) -> date:
    count, unit = number(match[1]), match[2]
    if unit.startswith("month") or unit == "个月":
        return months_back(count, today)
    return today - timedelta(days=count * _UNIT_DAYS[unit.removesuffix("s")])


def last_weekday(match: re.Match[str], today: date) -> date:
    back = (today.weekday() - WEEKDAYS.index(match[1])) % 7 or 7
    return today - timedelta(days=back)


_PATTERNS = (
    (_PREFIX + r"(\d{4})-(\d{1,2})-(\d{1,2})\b", _iso),
    (r"(\d{4})年(\d{1,2})月(\d{1,2})[日号]", _iso),
    (_PREFIX + r"\b(\d{1,2})\.(\d{1,2})\.(\d{4})\b", _day_first),
    (_PREFIX + r"end of " + MONTH + r"\b", _end_of_month),
    (r"(\d{1,2})月底", _end_of_month),
    (
        _PREFIX + r"(?<!\d)" + _DAY + r"(?: of)? " + MONTH + r"(?:,? (\d{4}))?\b",
        lambda match, today: latest(MONTHS[match[2]], int(match[1]), match[3], today),
    ),
    (
        _PREFIX + MONTH + r" " + _DAY + r"\b(?:,? (\d{4}))?",
        lambda match, today: latest(MONTHS[match[1]], int(match[2]), match[3], today),
    ),
    (
        r"(\d{1,2})月(\d{1,2})[日号]",
        lambda match, today: latest(int(match[1]), int(match[2]), None, today),
    ),
    (rf"(?:as of )?\b({NUMBER}) (days?|weeks?|months?) ago\b", _ago),
    (rf"({NUMBER})(天|周|个星期|星期|个月)(?:之)?前", _ago),
    (rf"\b(?:as of |on )?last ({'|'.join(WEEKDAYS)})\b", last_weekday),
    (r"(?:\bas of )?\byesterday\b|昨天", lambda _match, today: today - timedelta(days=1)),
    (r"\b(?:as of )?last week\b|上周|上个?星期", lambda _match, today: today - timedelta(days=7)),
    (r"\b(?:as of )?last month\b|上个?月", lambda _match, today: months_back(1, today)),
)
