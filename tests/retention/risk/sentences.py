"""Check a reason's sentence against features recomputed from raw rows.

Each pattern has a check, which returns the sentence's numbers as the raw rows give them and whether
they support that the risk is raised (None: either direction).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Expected = tuple[list[str], bool | None]
Check = Callable[["Facts", dict[str, str]], Expected]


@dataclass(frozen=True)
class Facts:
    """Recomputed features of a customer, of the typical one, and of the active ones."""

    own: pd.Series
    typical: pd.Series
    active: pd.DataFrame
    churn_rate: float
    horizon: int


def days(value: float) -> str:
    """A silence as reasons show it."""
    if value < 1:
        return "less than a day"
    return f"{np.floor(value):,.0f} day{'' if np.floor(value) == 1 else 's'}"


def every(gap: float) -> str:
    """A gap as reasons show it."""
    return "every day" if gap < 1.5 else f"every {gap:,.0f} days"


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _percent(value: float) -> str:
    return f"{round(100 * value):.0f}%"


def _tenth(value: float) -> str:
    return f"{value:,.1f}"


def _amount(
    name: str, windows: int | None = None, form: Any = _number, more_raises: bool | None = False
) -> Check:
    """An amount beside the shop's typical one, in a window of so many horizons."""

    def check(facts: Facts, seen: dict[str, str]) -> Expected:
        own, usual = facts.own[name], facts.typical[name]
        window = [] if windows is None else [str(windows * facts.horizon)]
        raises = None if more_raises is None else (own > usual) == more_raises
        assert form(own) != form(usual)
        return [form(own), *window, form(usual)], raises

    return check


def _silence(facts: Facts, seen: dict[str, str]) -> Expected:
    silence, gap = facts.own.recency_days, facts.own.gap_median
    return [days(silence), every(gap)], bool(silence > gap)


def _only_order(facts: Facts, seen: dict[str, str]) -> Expected:
    assert facts.own.orders_all >= 1
    assert np.isnan(facts.own.gap_median)
    silence, usual = facts.own.recency_days, facts.typical.recency_days
    shown = [] if silence < 1 else [days(silence)]
    return [*shown, days(usual)], bool(silence > usual)


def _within_pauses(facts: Facts, seen: dict[str, str]) -> Expected:
    assert facts.own.recency_days < facts.own.gap_max
    return [days(facts.own.recency_days), _number(facts.own.gap_max)], False


def _recent(facts: Facts, seen: dict[str, str]) -> Expected:
    silence, usual = facts.own.recency_days, facts.typical.recency_days
    return [days(silence), days(usual)], bool(silence > usual)


def _usual_gap(facts: Facts, seen: dict[str, str]) -> Expected:
    own, usual = facts.own.gap_median, facts.typical.gap_median
    return [every(own), every(usual)], bool(own > usual)


def _last_gap(facts: Facts, seen: dict[str, str]) -> Expected:
    last, usual = facts.own.gap_last, facts.own.gap_median
    return [days(last), _number(usual)], bool(last > usual)


def _paused(facts: Facts, seen: dict[str, str]) -> Expected:
    assert facts.own.gap_max > facts.own.gap_median
    return [every(facts.own.gap_median), _number(facts.own.gap_max)], True


def _never_paused(facts: Facts, seen: dict[str, str]) -> Expected:
    assert _number(facts.own.gap_max) == _number(facts.own.gap_median)
    return [every(facts.own.gap_median)], False


def _one_day(facts: Facts, seen: dict[str, str]) -> Expected:
    assert np.isnan(facts.own.gap_median)
    return [], True


def _change(stem: str, form: Any = _number) -> Check:
    """A window of one or two horizons beside the window before it."""

    def check(facts: Facts, seen: dict[str, str]) -> Expected:
        short, long = ("2h", "4h") if int(seen["c"]) == 2 * facts.horizon else ("1h", "2h")
        window = {"1h": 1, "2h": 2}[short] * facts.horizon
        now = facts.own[f"{stem}_{short}"]
        before = facts.own[f"{stem}_{long}"] - now
        return [form(now), str(window), form(before), str(window)], bool(now < before)

    return check


def _overdue(facts: Facts, seen: dict[str, str]) -> Expected:
    overdue, items = facts.own.overdue_items, facts.own.regular_items
    return [_number(overdue), _number(items)], bool(overdue > 0)


def _none_regular(facts: Facts, seen: dict[str, str]) -> Expected:
    assert facts.own.regular_items == 0
    return [str(4 * facts.horizon)], True


def _shop_churns(facts: Facts, seen: dict[str, str]) -> Expected:
    return [_percent(facts.churn_rate), str(facts.horizon)], True


def _shop_returns(facts: Facts, seen: dict[str, str]) -> Expected:
    return [_percent(1 - facts.churn_rate), str(facts.horizon)], False


def _longer_than(facts: Facts, seen: dict[str, str]) -> Expected:
    own = facts.own.recency_days
    share = (facts.active.recency_days < own).mean()
    assert share > 0.5
    return [days(own), _percent(share)], True


def _more_recent(facts: Facts, seen: dict[str, str]) -> Expected:
    own = facts.own.recency_days
    share = (facts.active.recency_days > own).mean()
    assert share > 0.5
    return [days(own), _percent(share)], False


def _more_have(facts: Facts, seen: dict[str, str]) -> Expected:
    share = (facts.active.orders_all > facts.own.orders_all).mean()
    assert share > 0.5
    return [_number(facts.own.orders_all), _percent(share)], True


def _fewer_have(facts: Facts, seen: dict[str, str]) -> Expected:
    share = (facts.active.orders_all < facts.own.orders_all).mean()
    assert share > 0.5
    return [_number(facts.own.orders_all), _percent(share)], False


def _bare_silence(facts: Facts, seen: dict[str, str]) -> Expected:
    return [days(facts.own.recency_days)], None


def _nothing(facts: Facts, seen: dict[str, str]) -> Expected:
    return [], None


N = r"([\d,]+)"
D = r"(less than a day|[\d,]+ days?)"
E = r"(every day|every [\d,]+ days)"
P = r"(\d+%)"
T = r"([\d,]+\.\d)"
SHOP_N, SHOP_D, SHOP_E, SHOP_P, SHOP_T = (
    rf" \(typical for the shop: {own}\)" for own in (N, D, E, P, T)
)
L = r"in the last (\d+) days"

PATTERNS: tuple[tuple[str, Check], ...] = (
    (rf"(?:no order for|last order) {D}(?: ago)?, usually {E}", _silence),
    (rf"no order for {D} since the only one{SHOP_D}", _only_order),
    (rf"the only order is less than a day old{SHOP_D}", _only_order),
    (rf"no order for {D}; earlier pauses lasted up to {N}", _within_pauses),
    (rf"last order {D} ago{SHOP_D}", _recent),
    (rf"usually orders {E}{SHOP_E}", _usual_gap),
    (rf"{D} between the last two orders, usually {N}", _last_gap),
    (rf"usually orders {E}; earlier pauses lasted up to {N}", _paused),
    (rf"usually orders {E}, and never paused for longer before", _never_paused),
    (r"ordered on one day only, so there is no rhythm yet", _one_day),
    (rf"{N} orders? in the last (?P<c>\d+) days, {N} in the (\d+) before", _change("orders")),
    (rf"spent {N} in the last (?P<c>\d+) days, {N} in the (\d+) before", _change("spend")),
    (rf"spent {N} {L}{SHOP_N}", _amount("spend_2h", 2)),
    (rf"spent {N} ever{SHOP_N}", _amount("spend_all")),
    (rf"spends {N} per order{SHOP_N}", _amount("basket_mean", more_raises=None)),
    (rf"{N} orders? ever{SHOP_N}", _amount("orders_all")),
    (rf"{P} off on average {L}{SHOP_P}", _amount("discount_share", 4, _percent, None)),
    (rf"{N} coupons? redeemed {L}{SHOP_N}", _amount("redemptions_4h", 4, more_raises=None)),
    (rf"{N} different items? {L}{SHOP_N}", _amount("items_4h", 4)),
    (rf"{T} lines per order {L}{SHOP_T}", _amount("lines_per_order", 4, _tenth)),
    (rf"{P} of the orders at weekends{SHOP_P}", _amount("weekend_share", None, _percent, None)),
    (
        rf"{P} of the orders on their favourite day of the week{SHOP_P}",
        _amount("weekday_share", None, _percent, None),
    ),
    (rf"{P} of the orders online{SHOP_P}", _amount("online_share", None, _percent, None)),
    (rf"ordered through {N} channels?{SHOP_N}", _amount("channels", more_raises=None)),
    (rf"a customer for {D}{SHOP_D}", _amount("tenure_days", None, days, None)),
    (rf"{N} items? bought regularly {L}{SHOP_N}", _amount("regular_items", 4)),
    (rf"{N} of {N} items? bought regularly should have been bought again by now", _overdue),
    (rf"no item bought regularly {L}", _none_regular),
    (rf"{N} returns? {L}{SHOP_N}", _amount("returns_4h", 4, more_raises=True)),
    (rf"{N} page views? {L}{SHOP_N}", _amount("views_1h", 1)),
    (rf"{N} items? put into the cart {L}{SHOP_N}", _amount("carts_1h", 1)),
    (rf"{N} e-mails? opened or clicked {L}{SHOP_N}", _amount("emails_1h", 1)),
    (rf"{N} contacts? with support {L}{SHOP_N}", _amount("support_4h", 4, more_raises=True)),
    (rf"{P} of the shop's customers place no order within (\d+) days", _shop_churns),
    (rf"{P} of the shop's customers order again within (\d+) days", _shop_returns),
    (rf"no order for {D}, longer than {P} of the active customers", _longer_than),
    (rf"last order {D} ago, more recent than that of {P} of the active customers", _more_recent),
    (rf"{N} orders? ever, and {P} of the active customers have more", _more_have),
    (rf"{N} orders? ever, and {P} of the active customers have fewer", _fewer_have),
    (rf"(?:no order for|last order) {D}(?: ago)?", _bare_silence),
    (r"several small signs together, none of which stands out", _nothing),
    (r"the time of the year.*", _nothing),
)
ORDERS_IN_WINDOW = re.compile(rf"{N} orders? {L}{SHOP_N}")


def check(reason: dict[str, Any], facts: Facts) -> None:
    """Fail if a reason is not what the raw rows say, or contradicts its direction."""
    text = reason["text"]
    if match := ORDERS_IN_WINDOW.fullmatch(text):
        number = int(match[2]) // facts.horizon
        match_check: Check = _amount(f"orders_{number}h", number)
    else:
        found = ((re.fullmatch(pattern, text), rule) for pattern, rule in PATTERNS)
        match, match_check = next((pair for pair in found if pair[0]), (None, _nothing))
    assert match is not None, f"no check for the sentence {text!r}"
    expected, raises = match_check(facts, match.groupdict())
    assert list(match.groups()) == expected, (text, expected)
    assert raises in (None, reason["direction"] == "raises"), (text, reason["direction"])
