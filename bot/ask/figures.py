"""Find the days and the conditions of a question about customers or sales."""

import calendar
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, cast

from bot.ask.dates import (
    MONTH,
    MONTHS,
    NUMBER,
    WEEKDAYS,
    find_day,
    last_weekday,
    latest,
    months_back,
    number,
)
from retention.audiences.expression import AtStore, Bought, Engaged

Span = tuple[str, int, int]
Period = tuple[date, date, int, int]

_UNITS = {"day": 1, "week": 7, "month": 30, "year": 365, "天": 1, "周": 7, "个月": 30, "年": 365}
_UNIT = "|".join(_UNITS)
_MORE = {
    ">": "more than|over|above|超过",
    ">=": "at least|至少",
    "<": "fewer than|less than|under|below|不到",
    "<=": "at most|up to",
}
_THAN = f"({'|'.join(_MORE.values())})"
_ORDERS = (
    rf"(?:下单)?{_THAN} ?({NUMBER}) ?(?:orders|purchases|times|[个次]?订单|单|次)",
    rf"({NUMBER})(?: or more|\+) (?:orders|purchases)()",
    rf"(?:下单|买)(?:了)?({NUMBER})次(以上)",
)
_SPENT = (
    rf"\b(?:spen[dt]s?|spending|paid) {_THAN} ?[€$£¥]?(\d[\d,]*)(?: ?(?:euros?|eur|dollars?|usd))?",
    r"(?:消费|花费|花)(?:了|金额)?(超过|至少|不到) ?[¥€$]?(\d[\d,]*)",
)
_SILENT = (
    r"\b(?:has|have|had)(?:n't| not) (?:bought|ordered|purchased|shopped|been|come|"
    r"placed)\b[a-z ]*?"
    rf"(?: for| in| since)(?: the)?(?: last| past)?(?: over| more than)? ({NUMBER}) ({_UNIT})s?\b",
    r"\b(?:silent|inactive|without (?:an? )?orders?)(?: for| in)(?: over| more than| the last)? "
    rf"({NUMBER}) ({_UNIT})s?\b",
    rf"({NUMBER})(天|周|个月|年)(?:都|以上)?没有?(?:下单|下过单|购买|买|来|消费)",
)
_BOUGHT = (
    r"\b(?:bought|buys?|purchased|orders?|ordered)(?: any| some| our| the)? ([a-z][a-z' -]*[a-z])",
    r"\bbuyers of (?:any |our |the )?([a-z][a-z' -]*[a-z])",
    r"(?:买过|购买过|买了)(?:我们的)?([\u4e00-\u9fff]{1,12}?)(?=的|吗|\W|$)",
)
_VIEWED = (
    r"\b(?:looked at|viewed|browsed)(?: any| some| our| the)? ([a-z][a-z' -]*[a-z])",
    r"(?:浏览过|看过|浏览了)(?:我们的)?([\u4e00-\u9fff]{1,12}?)(?=的|吗|但|\W|$)",
)
_MAIL = r"(?:e-?mails?|mails?|newsletters?|messages?)"
_OF_MAIL = rf"(?: (?:on|in|any|anything|an?|one|of|our|my|the|links?|{_MAIL})\b)+"
_ENGAGED = (
    ("opened", rf"\b(?:(not |n't |never )open(?:ed)?|opened)(?:{_OF_MAIL})? {_MAIL}"),
    ("clicked", rf"\b(?:(not |n't |never )click(?:ed)?|clicked)\b(?:{_OF_MAIL})?"),
    ("opened", r"(没有?)?打开过?邮件"),
    ("clicked", r"(没有?)?点(?:击|开)?过?(?:邮件|链接)"),
)
_STORE = (
    r"(?:\b(?:shop|shops|shopped|order|ordered|buy|buys|bought) )?\b(?:at|in|from|of) "
    r"(?:the |our )?(?:store|branch) (?:no\.? ?|number |#)?([\w-]*\d[\w-]*)",
    r"在?([a-z0-9-]*\d)号?(?:门店|分店)(?:买过东西|购物)?",
)
_GOOD_BUYERS = r"\b([a-z][a-z' -]*[a-z]) (?:buyers|drinkers|eaters|fans)\b"
_WITHIN = re.compile(
    rf"(?: in| within| over| during)?(?: the)? ?(?:last|past) ({NUMBER}) ({_UNIT})s?\b"
)
_ENDS = re.compile(r" (?:in|within|over|during|last|this|but|and|from|at|on|since|yesterday)\b.*")
_NEGATED = re.compile(r"(?:\b(?:never|not)|n't)(?: ever)? $|(?:没有?|从未)$")
_NO_GOOD = re.compile(
    r"(?:any|some|no|every)?thing\b|nothing|it\b|them|most|more|less|again|a lot|often|twice|once|"
    r"every\b|each\b|what|when|why|how|(?:the )?(?:last|first|same|least)\b|never|for\b|in\b|"
    r"from\b|at\b|since|regularly|东西"
)


_ANY_PERIOD = (
    rf"\b(?:in |within |over |during |for )?(?:the )?(?:last|past) (?:({NUMBER}) )?({_UNIT})s?\b",
    rf"(?:最近|过去|近)({NUMBER})(天|周|个月|年)",
)


def find_conditions(low: str, goods: Mapping[str, tuple[str, str]]) -> list[Span]:
    """Return conditions of the audience grammar, with their spans.

    The period of a condition is a span of its own, without a condition.
    """
    period = _first_match(_ANY_PERIOD, low)
    days = number(period[1] or "1") * _UNITS[period[2]] if period else None
    found = _conditions(low, goods, days)
    is_used = period and any(f" in {days}d" in condition for condition, *_ in found)
    return [*found, ("", *period.span())] if period and is_used else found


def _conditions(low: str, goods: Mapping[str, tuple[str, str]], days: int | None) -> list[Span]:
    found: list[Span] = []
    for action, pattern in _ENGAGED:
        if match := re.search(pattern, low):
            negation = "not " if match[1] else ""
            found.append((f"{negation}{Engaged(cast(Any, action), days)}", *match.span()))
    store = _first_match(_STORE, low)
    at_store = store[1] if store else None
    is_negated = False
    for action, patterns in (("viewed", _VIEWED), ("bought", (*_BOUGHT, _GOOD_BUYERS))):
        if product := _product(low, goods, patterns):
            no = _NEGATED.search(low[: product[1]])
            is_negated |= no is not None
            condition = replace(product[0], action=cast(Any, action), days=product[0].days or days)
            if action == "bought":
                condition, at_store = replace(condition, store=at_store), None
            start = no.start() if no else product[1]
            found.append((f"not {condition}" if no else str(condition), start, product[2]))
    if store:
        found.append((str(AtStore((at_store,))) if at_store else "", *store.span()))
    # A period belongs to one of these, else to orders and spending.
    counts = _counts(
        low, "" if days is None or found else f" in {days}d", has_silence=not is_negated
    )
    return counts + found


def _counts(low: str, within: str, *, has_silence: bool) -> list[Span]:
    """Return conditions on the number of orders, their sum, and the time since the last one."""
    found: list[Span] = []
    if match := _first_match(_ORDERS, low):
        than = next((op for op, words in _MORE.items() if match[1] in words.split("|")), ">=")
        amount = match[1] if than == ">=" and not match[2].isdigit() else match[2]
        count = number(amount or match[1])
        found.append((f"orders{within} {than} {count}", *match.span()))
    if match := _first_match(_SPENT, low):
        than = next(op for op, words in _MORE.items() if match[1] in words.split("|"))
        found.append((f"spent{within} {than} {match[2].replace(',', '')}", *match.span()))
    if has_silence and (match := _first_match(_SILENT, low)):
        found.append((f"last_order > {number(match[1]) * _UNITS[match[2]]}d", *match.span()))
    return found


def _first_match(patterns: Sequence[str], low: str) -> re.Match[str] | None:
    return next(filter(None, (re.search(pattern, low) for pattern in patterns)), None)


def _product(
    low: str, goods: Mapping[str, tuple[str, str]], patterns: Sequence[str]
) -> tuple[Bought, int, int] | None:
    for pattern in patterns:
        for match in re.finditer(pattern, low):
            words = match[1].split()
            ends = range(len(words), 0, -1)
            # The longest known name at the beginning; before "buyers" at the end.
            if pattern == _GOOD_BUYERS:
                names = (" ".join(words[-n:]) for n in ends)
            else:
                names = (" ".join(words[:n]) for n in ends)
            name = next((each for each in names if _known(each, goods)), "")
            kind, title = _known(name, goods) or ("category", "")
            if not name:
                name = title = _ENDS.sub("", match[1])
                if pattern == _GOOD_BUYERS or _NO_GOOD.match(name) or not name:
                    continue
            start, end = match.start(), low.index(name, match.start(1)) + len(name)
            if pattern == _GOOD_BUYERS:
                start, end = match.start(1), match.end()
            within = _WITHIN.match(low, end)
            days = number(within[1]) * _UNITS[within[2]] if within else None
            return Bought(cast(Any, kind), title, days), start, within.end() if within else end
    return None


def _known(name: str, goods: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
    forms = (name, f"{name}s", name.removesuffix("s"))
    return next((goods[form] for form in forms if form in goods), None) if name else None


def find_period(low: str, today: date) -> Period | None:
    """Find the days of a question about sales; weeks begin on Monday."""
    for pattern, days in _PERIODS:
        if match := re.search(pattern, low):
            try:
                first, last = days(match, today)
            except (ValueError, OverflowError):  # before the first year of the calendar
                continue
            if first <= today:
                return first, last, *match.span()
    day = find_day(low, today)
    if day is None:
        return None
    second = find_day(low[: day[1]] + " " * (day[2] - day[1]) + low[day[2] :], today)
    if second:
        (first, *_), (last, *_) = sorted((day, second), key=lambda found: found[1])
        if first <= last:
            return first, last, min(day[1], second[1]), max(day[2], second[2])
    return day[0], day[0], day[1], day[2]


def _week(today: date, back: int) -> tuple[date, date]:
    first = today - timedelta(days=today.weekday() + 7 * back)
    return first, min(first + timedelta(days=6), today)


def _month(today: date, back: int) -> tuple[date, date]:
    return _whole_month(months_back(back, today.replace(day=1)), today)


def _whole_month(first: date, today: date) -> tuple[date, date]:
    last = first.replace(day=calendar.monthrange(first.year, first.month)[1])
    return first, min(last, today)


def _named_month(match: re.Match[str], today: date) -> tuple[date, date]:
    month = MONTHS[match[1]] if match[1] in MONTHS else number(match[1])
    year = match[2] if (match.lastindex or 0) > 1 else None
    return _whole_month(latest(month, 1, year, today), today)


def _past(match: re.Match[str], today: date) -> tuple[date, date]:
    count, unit = number(match[1]), match[2]
    is_month = unit in ("month", "个月")
    first = months_back(count, today) if is_month else today - timedelta(count * _UNITS[unit])
    return first, today - timedelta(days=1)


def _days_ago(days: int) -> Callable[[re.Match[str], date], tuple[date, date]]:
    return lambda _match, today: (today - timedelta(days=days), today - timedelta(days=days))


_PERIODS: tuple[tuple[str, Callable[[re.Match[str], date], tuple[date, date]]], ...] = (
    (r"\b(?:the )?week before last\b|上上周", lambda _, today: _week(today, 2)),
    (
        r"\b(?:the )?(?:last|previous) week(?:'s)?\b|上周|上个?星期",
        lambda _, today: _week(today, 1),
    ),
    (r"\bthis week(?:'s)?\b|[本这]周|这个?星期", lambda _, today: _week(today, 0)),
    (r"\b(?:the )?(?:last|previous) month(?:'s)?\b|上个?月", lambda _, today: _month(today, 1)),
    (r"\bthis month(?:'s)?\b(?: so far)?|[本这]个?月", lambda _, today: _month(today, 0)),
    (
        r"\blast year(?:'s)?\b|去年",
        lambda _, today: (date(today.year - 1, 1, 1), date(today.year - 1, 12, 31)),
    ),
    (r"\bthis year(?:'s)?\b(?: so far)?|今年", lambda _, today: (date(today.year, 1, 1), today)),
    (r"\btoday(?:'s)?\b(?: so far)?|今天", _days_ago(0)),
    (r"\byesterday(?:'s)?\b|昨天", _days_ago(1)),
    (r"前天", _days_ago(2)),
    (
        r"\b(?:last|the|this) weekend(?:'s)?\b|周末",
        lambda _, today: (
            today - timedelta(days=(today.weekday() + 1) % 7 + 1),
            today - timedelta(days=(today.weekday() + 1) % 7),
        ),
    ),
    (
        rf"\b(?:on|last) ({'|'.join(WEEKDAYS)})\b",
        lambda match, today: (last_weekday(match, today),) * 2,
    ),
    (rf"\b(?:over |in |for )?(?:the )?(?:last|past) ({NUMBER}) (day|week|month|year)s?\b", _past),
    (rf"(?:最近|过去)({NUMBER})(天|周|个月|年)", _past),
    (
        rf"\b(?:in|for|of|during) (?:last )?{MONTH}(?: (\d{{4}}))?\b(?! \d)|"
        rf"\b(?!may\b|march\b){MONTH}(?: (\d{{4}}))?(?='s? | sales| revenue| orders)",
        lambda match, today: _named_month(
            re.match(rf"(?:.* )?{MONTH}(?: (\d{{4}}))?$", match[0]) or match, today
        ),
    ),
    (
        r"(?<!\d)(\d{1,2}|[一二三四五六七八九]|十[一二]?)月(?:份)?(?![\d一二三四五六七八九十底])",
        _named_month,
    ),
)
