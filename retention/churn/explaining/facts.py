"""State the facts behind the reasons of a score.

A feature group has one or more facts. A fact becomes a sentence only if its numbers support the
direction of the group's weight: silence within the customer's usual gap is no cause of a high
risk. Numbers are compared as they are shown, so a reason never says "3 (typical: 3)".
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import isnan
from typing import Any

import numpy as np

from retention.templating import count, percent
from retention.text import gettext, marked

MIN_SEASON_EFFECT = 0.05  # smallest reported change of the speed of repeat orders
MIN_SEASON_SHARE = 0.5  # of the log change; else growth or decline is most of it
LONG_PAUSE = 1.5  # × the usual gap
MIN_DIFFERENCE = 0.1  # smallest reported difference from the typical value, as a share

Row = Mapping[str, Any]
Values = Mapping[str, float | None]
Stated = tuple[str, Values] | None  # code and values of a fact

SILENT, SEASON = "silent", "season"


@dataclass(frozen=True, slots=True)
class Customer:
    """Features of one customer, and what is typical for the shop."""

    row: Row
    typical: Mapping[str, float]
    horizon_days: int

    def __getitem__(self, name: str) -> float:
        return float(self.row.get(name, np.nan))

    def knows(self, *names: str) -> bool:
        """Return whether all these features are known."""
        return not any(isnan(self[name]) for name in names)


@dataclass(frozen=True, slots=True)
class Amount:
    """A feature whose value is told beside the shop's typical one.

    `noun`: counted things; empty for values with their own unit.
    """

    column: str
    number: Callable[[float], str]
    noun: str = ""
    more_raises: bool | None = False

    def supports(self, customer: Customer, raises: bool) -> bool:
        """Return whether the difference from the typical value supports a direction."""
        own, typical = customer[self.column], customer.typical.get(self.column, np.nan)
        if not differs(own, typical) or self.number(own) == self.number(typical):
            return False
        return self.more_raises is None or (own > typical) == (self.more_raises == raises)

    def difference(self, customer: Customer) -> float:
        """Return how far the value is from the typical one, as a log ratio."""
        own, typical = customer[self.column], customer.typical[self.column]
        return float(abs(np.log1p(max(own, 0)) - np.log1p(max(typical, 0))))

    def text(self, customer: Customer) -> str:
        """Describe the value next to the typical one.

        An example is ``1 order in the last 28 days (typical for the shop: 3)``.
        """
        own, typical = customer[self.column], customer.typical[self.column]
        return self.text_of(own, typical, customer.horizon_days)

    def text_of(self, own: float, typical: float, horizon_days: int) -> str:
        """Describe a value next to the typical one."""
        h = horizon_days
        sentence = gettext(_AMOUNT_SENTENCES[self.column]).format(
            amount=self.amount(own), one_h=h, two_h=2 * h, four_h=4 * h
        )
        return beside_typical(sentence, self.number(typical))

    def amount(self, own: float) -> str:
        """Format a value with its noun or unit."""
        return count(own, self.noun) if self.noun else self.number(own)


def differs(own: float, typical: float) -> bool:
    """Return whether two known values differ enough to be a reason."""
    if isnan(own) or isnan(typical):
        return False
    return bool(abs(own - typical) >= MIN_DIFFERENCE * max(abs(own), abs(typical)))


def beside_typical(sentence: str, typical: str) -> str:
    """Add the shop's typical value to a sentence."""
    text = gettext("{sentence} (typical for the shop: {typical})")
    return text.format(sentence=sentence, typical=typical)


def days_text(value: float) -> str:
    """Describe a number of whole days: ``less than a day``, ``6 days``."""
    return gettext("less than a day") if value < 1 else count(np.floor(value), "day")


def every(gap: float) -> str:
    """Describe a gap: ``every day``, ``every 6 days``."""
    if gap < 1.5:
        return gettext("every day")
    return gettext("every {days}").format(days=count(gap, "day"))


def shown_gap(gap: float) -> int:
    """Return a gap in days as reasons show it."""
    return max(round(gap), 1)


def is_late(row: Row) -> bool:
    """Return whether the silence is longer than the usual gap, as both are shown."""
    days, usual = row["recency_days"], row["gap_median"]
    return bool(days > usual and np.floor(days) > shown_gap(usual))


def is_early(row: Row) -> bool:
    """Return whether the silence is shorter than the usual gap, as both are shown."""
    days, usual = row["recency_days"], row["gap_median"]
    return bool(days < usual and np.floor(days) < shown_gap(usual))


def silence(customer: Customer, raises: bool) -> Stated:
    """Compare a long silence with the customer's own gaps."""
    if not raises or not customer.knows("gap_median") or not is_late(customer.row):
        return None
    longest = customer["gap_max"]
    return SILENT, {
        "days": float(np.floor(customer["recency_days"])),
        "usual": shown_gap(customer["gap_median"]),
        "longest": None if isnan(longest) else shown_gap(longest),
    }


def on_time(customer: Customer, raises: bool) -> Stated:
    if raises or not customer.knows("gap_median") or not is_early(customer.row):
        return None
    days, usual = np.floor(customer["recency_days"]), shown_gap(customer["gap_median"])
    return "on_time", {"days": float(days), "usual": usual}


def only_order(customer: Customer, raises: bool) -> Stated:
    """Compare the silence after a single order with the shop's, if that is known."""
    days, typical = customer["recency_days"], customer.typical.get("recency_days", np.nan)
    if not isnan(customer["gap_median"]) or isnan(days):
        return None
    if isnan(typical):
        return ("only_order", {"days": float(np.floor(days)), "typical": None}) if raises else None
    if np.floor(days) == np.floor(typical) or (days > typical) != raises:
        return None
    code = "only_order" if raises else "only_order_recent"
    return code, {"days": float(np.floor(days)), "typical": float(np.floor(typical))}


def _within_pauses(customer: Customer, raises: bool) -> Stated:
    """A longer pause than the silence now did not end in churn."""
    if raises or not customer.knows("gap_max", "gap_median") or not is_late(customer.row):
        return None
    days, longest = np.floor(customer["recency_days"]), round(customer["gap_max"])
    if days >= longest:
        return None
    return "within_pauses", {"days": float(days), "longest": longest}


def _recent_order(customer: Customer, raises: bool) -> Stated:
    days, typical = customer["recency_days"], customer.typical.get("recency_days", np.nan)
    if raises or isnan(typical) or not np.floor(days) < np.floor(typical):
        return None
    return "recent", {"days": float(np.floor(days)), "typical": float(np.floor(typical))}


def _orders_change(customer: Customer, raises: bool, horizons: int = 1) -> Stated:
    """Compare the last H, or 2H, with as many days before: the customer's own past."""
    now = customer[f"orders_{horizons}h"]
    before = customer[f"orders_{2 * horizons}h"] - now
    if isnan(before) or now == before or (now < before) != raises:
        return None
    days = horizons * customer.horizon_days
    return "orders_change", {"now": now, "before": before, "days": days}


def _usual_gap(customer: Customer, raises: bool) -> Stated:
    """Compare the usual gap with the shop's: rare orders raise the risk."""
    usual, typical = customer["gap_median"], customer.typical.get("gap_median", np.nan)
    if not differs(usual, typical) or shown_gap(usual) == shown_gap(typical):
        return None
    if (usual > typical) != raises:
        return None
    return "usual_gap", {"usual": shown_gap(usual), "typical": shown_gap(typical)}


def _last_gap(customer: Customer, raises: bool) -> Stated:
    if not customer.knows("gap_last", "gap_median"):
        return None
    last, usual = shown_gap(customer["gap_last"]), shown_gap(customer["gap_median"])
    if last == usual or (last > usual) != raises:
        return None
    return "last_gap", {"last": last, "usual": usual}


def _pauses(customer: Customer, raises: bool) -> Stated:
    if not customer.knows("gap_median", "gap_max"):
        return None
    usual, longest = customer["gap_median"], customer["gap_max"]
    shown: Values = {"usual": shown_gap(usual), "longest": round(longest)}
    if raises and longest >= LONG_PAUSE * usual and round(longest) > shown_gap(usual):
        return "irregular", shown
    return ("regular", shown) if not raises and round(longest) == round(usual) else None


def _one_order_day(customer: Customer, raises: bool) -> Stated:
    return ("one_day", {}) if raises and isnan(customer["gap_median"]) else None


def _spend_change(customer: Customer, raises: bool) -> Stated:
    now, before = customer["spend_2h"], customer["spend_4h"] - customer["spend_2h"]
    if isnan(before) or round(now) == round(before) or (now < before) != raises:
        return None
    return "spend_change", {"now": now, "before": before, "days": 2 * customer.horizon_days}


def _overdue_items(customer: Customer, raises: bool) -> Stated:
    if not customer.knows("overdue_share", "regular_items"):
        return None
    items = customer["regular_items"]
    overdue = round(customer["overdue_share"] * items)
    if raises != bool(overdue):
        return None
    return "overdue_items", {"overdue": overdue, "items": items}


def _no_regular_item(customer: Customer, raises: bool) -> Stated:
    others_do = customer.typical.get("regular_items", 0) > 0
    if not raises or customer["regular_items"] != 0 or not others_do:
        return None
    return "no_regular_item", {"days": 4 * customer.horizon_days}


def _rating(customer: Customer, raises: bool) -> Stated:
    mean, last = customer["rating_mean"], customer["rating_last"]
    if isnan(mean) or f"{mean:.1f}" == f"{last:.1f}" or (last < mean) != raises:
        return None
    return "rating", {"mean": mean, "last": last}


def _season(customer: Customer, raises: bool) -> Stated:
    """Tell the change of repeat orders by the season, as a share.

    None if growth or decline is most of the forecast change, or if it explains no such weight.
    """
    season, total = customer["season_alone"], customer["season_ahead"]
    if not season * total > 0 or abs(season) < MIN_SEASON_SHARE * abs(total):
        return None
    change = float(np.expm1(season))
    if abs(change) < MIN_SEASON_EFFECT or (change < 0) != raises:
        return None
    return SEASON, {"change": change, "days": customer.horizon_days}


@dataclass(frozen=True, slots=True)
class Fact:
    """A kind of fact.

    `groups`: feature groups that it is a reason of. `also`: further ones whose clause it may be.
    `measures`: what its words show.
    `state`: customer and "raises the risk" → code and values, or None if the fact does not support
    the direction.
    """

    groups: frozenset[str]
    measures: frozenset[str]
    state: Callable[[Customer, bool], Stated]
    also: frozenset[str] = frozenset()


_RHYTHM = frozenset({"rhythm"})
SILENCE_MEASURES = frozenset({"silence", "usual", "longest", "activity"})
# The best fact of a group, and of a family, comes first.
FACTS = (
    Fact(frozenset({"recency"}), SILENCE_MEASURES, silence, _RHYTHM),
    Fact(frozenset({"recency"}), frozenset({"silence", "usual"}), on_time, _RHYTHM),
    Fact(frozenset({"recency"}), frozenset({"silence", "usual", "activity"}), only_order, _RHYTHM),
    Fact(frozenset({"recency"}), frozenset({"silence", "longest"}), _within_pauses, _RHYTHM),
    Fact(frozenset({"trend"}), frozenset({"activity"}), _orders_change),
    Fact(frozenset({"trend"}), frozenset({"activity"}), partial(_orders_change, horizons=2)),
    Fact(frozenset({"rhythm", "recency"}), frozenset({"usual"}), _usual_gap),
    Fact(frozenset({"recency"}), frozenset({"silence"}), _recent_order),
    Fact(frozenset({"rhythm"}), frozenset({"usual", "last"}), _last_gap),
    Fact(frozenset({"rhythm"}), frozenset({"usual", "longest"}), _pauses),
    Fact(frozenset({"recency", "rhythm"}), frozenset({"usual"}), _one_order_day),
    Fact(frozenset({"spend"}), frozenset({"activity"}), _spend_change),
    Fact(frozenset({"replenishment"}), frozenset({"regular_items"}), _overdue_items),
    Fact(frozenset({"replenishment"}), frozenset({"regular_items"}), _no_regular_item),
    Fact(frozenset({"opinion"}), frozenset({"rating_mean"}), _rating),
    Fact(frozenset({"season"}), frozenset({SEASON}), _season),
)


# The words that a sentence has for the numbers of a fact.
_WORDS: dict[str, tuple[str, Callable[[float], Any]]] = {
    "days": ("silence", days_text),
    "usual": ("rhythm", every),
    "now": ("orders", lambda number: count(number, "order")),
    "orders": ("orders", lambda number: count(number, "order")),
    "items": ("items", lambda number: count(number, "item")),
    "last": ("days", lambda number: count(number, "day")),
    "change": ("change", lambda share: percent(abs(share))),
    "share": ("share", percent),
}
# How the shop's typical value is shown beside a fact.
_TYPICAL = {
    "only_order": days_text,
    "only_order_recent": days_text,
    "recent": days_text,
    "usual_gap": every,
}
Words = str | Callable[[Values], str]  # a marked sentence, or a function that makes the text


def say(words: Words, values: Values, **changed: Any) -> str:
    """Fill a sentence with the numbers of a fact, and with words for them."""
    if callable(words):
        return words(values)
    numbers = {name: value or 0.0 for name, value in values.items()}
    known = {"spend": numbers.get("now"), **numbers}
    for name, (word, show) in _WORDS.items():
        if name in numbers:
            known[word] = show(numbers[name])
    return gettext(words).format(**known | changed)


def with_typical(code: str, text: str, values: Values) -> str:
    """Add the shop's typical value to the words of a fact that has one."""
    typical = values.get("typical")
    if code not in _TYPICAL or typical is None:
        return text
    return beside_typical(text, _TYPICAL[code](typical))


def _only_order_text(values: Values) -> str:
    if (values["days"] or 0) < 1:
        return gettext("the only order is less than a day old")
    return say(marked("no order for {silence} since the only one"), values)


def _season_text(values: Values) -> str:
    slower = marked(
        "the time of the year: repeat orders come {change} slower than in the {days} days before"
    )
    faster = marked(
        "the time of the year: repeat orders come {change} faster than in the {days} days before"
    )
    return say(slower if (values["change"] or 0) < 0 else faster, values)


# The words of a fact as a reason.
_SENTENCES: dict[str, Words] = {
    SILENT: marked("no order for {silence}, usually {rhythm}"),
    "on_time": marked("last order {silence} ago, usually {rhythm}"),
    "only_order": _only_order_text,
    "only_order_recent": _only_order_text,
    "within_pauses": marked("no order for {silence}; earlier pauses lasted up to {longest:.0f}"),
    "recent": marked("last order {silence} ago"),
    "orders_change": marked("{orders} in the last {days} days, {before:.0f} in the {days} before"),
    "usual_gap": marked("usually orders {rhythm}"),
    "last_gap": marked("{days} between the last two orders, usually {usual:.0f}"),
    "irregular": marked("usually orders {rhythm}; earlier pauses lasted up to {longest:.0f}"),
    "regular": marked("usually orders {rhythm}, and never paused for longer before"),
    "one_day": marked("ordered on one day only, so there is no rhythm yet"),
    "spend_change": marked(
        "spent {spend:,.0f} in the last {days} days, {before:,.0f} in the {days} before"
    ),
    "overdue_items": marked(
        "{overdue:.0f} of {items} bought regularly should have been bought again by now"
    ),
    "no_regular_item": marked("no item bought regularly in the last {days} days"),
    "rating": marked("rates {mean:.1f} on average, last {last:.1f}"),
    SEASON: _season_text,
}


def fact_text(code: str, values: Values) -> str:
    """Say a fact as a reason; empty for a single order without the shop's typical silence."""
    if code == "only_order" and values["typical"] is None:
        return ""
    return with_typical(code, say(_SENTENCES[code], values), values)


def sentences(group: str, customer: Customer, raises: bool) -> Iterator[str]:
    """Yield the sentences of a group that support a direction, the best first."""
    for fact in FACTS:
        stated = fact.state(customer, raises) if group in fact.groups else None
        if stated is not None and (text := fact_text(*stated)):
            yield text
    for amount in supporting_amounts(group, customer, raises):
        yield amount.text(customer)


def silence_text(customer: Customer, raises: bool) -> str:
    """Describe the silence beside the usual gap, if it is unusual in this direction, or ""."""
    stated = silence(customer, raises) or on_time(customer, raises)
    return fact_text(*stated) if stated else ""


def _tenths(value: float) -> str:
    return f"{value:,.1f}"


def _money(value: float) -> str:
    return f"{value:,.0f}"


_AMOUNTS: dict[str, tuple[Amount, ...]] = {
    "frequency": (
        Amount("orders_1h", count, "order"),
        Amount("orders_2h", count, "order"),
        Amount("orders_4h", count, "order"),
        Amount("orders_all", count, "order"),
    ),
    "spend": (
        Amount("spend_2h", _money),
        Amount("spend_all", _money),
        Amount("basket_mean", _money, more_raises=None),
    ),
    "discounts": (
        Amount("discount_share", percent, more_raises=None),
        Amount("redemptions_4h", count, "coupon", None),
    ),
    "breadth": (Amount("items_4h", count, "different item"), Amount("lines_per_order", _tenths)),
    "habits": (
        Amount("weekend_share", percent, more_raises=None),
        Amount("weekday_share", percent, more_raises=None),
    ),
    "tenure": (Amount("tenure_days", days_text, more_raises=None),),
    "replenishment": (Amount("regular_items", count, "item"),),
    "returns": (Amount("returns_4h", count, "return", True),),
    "channel": (
        Amount("online_share", percent, more_raises=None),
        Amount("channels", count, "channel", None),
    ),
    "intent": (Amount("views_1h", count, "page view"), Amount("carts_1h", count, "item")),
    "response": (
        Amount("emails_1h", count, "e-mail"),
        Amount("campaigns_4h", count, "campaign", None),
    ),
    "contacts": (Amount("contacts_lapsed", percent, more_raises=True),),
    "opinion": (
        Amount("rating_mean", _tenths),
        Amount("support_4h", count, "contact", True),
        Amount("complaints_30d", count, "complaint", True),
    ),
}
_AMOUNT_SENTENCES = {
    "orders_1h": marked("{amount} in the last {one_h} days"),
    "orders_2h": marked("{amount} in the last {two_h} days"),
    "orders_4h": marked("{amount} in the last {four_h} days"),
    "orders_all": marked("{amount} ever"),
    "spend_2h": marked("spent {amount} in the last {two_h} days"),
    "spend_all": marked("spent {amount} ever"),
    "basket_mean": marked("spends {amount} per order"),
    "discount_share": marked("{amount} off on average in the last {four_h} days"),
    "redemptions_4h": marked("{amount} redeemed in the last {four_h} days"),
    "items_4h": marked("{amount} in the last {four_h} days"),
    "lines_per_order": marked("{amount} lines per order in the last {four_h} days"),
    "weekend_share": marked("{amount} of the orders at weekends"),
    "weekday_share": marked("{amount} of the orders on their favourite day of the week"),
    "tenure_days": marked("a customer for {amount}"),
    "regular_items": marked("{amount} bought regularly in the last {four_h} days"),
    "returns_4h": marked("{amount} in the last {four_h} days"),
    "online_share": marked("{amount} of the orders online"),
    "channels": marked("ordered through {amount}"),
    "views_1h": marked("{amount} in the last {one_h} days"),
    "carts_1h": marked("{amount} put into the cart in the last {one_h} days"),
    "emails_1h": marked("{amount} opened or clicked in the last {one_h} days"),
    "campaigns_4h": marked("{amount} received in the last {four_h} days"),
    "rating_mean": marked("rates {amount} on average"),
    "contacts_lapsed": marked(
        "{amount} of their close contacts did not order in the last {one_h} days"
    ),
    "support_4h": marked("{amount} with support in the last {four_h} days"),
    "complaints_30d": marked("{amount} written in the last 30 days"),
}
GROUPS = frozenset({*_AMOUNTS, *(group for fact in FACTS for group in fact.groups)})
AMOUNT_OF = {amount.column: amount for amounts in _AMOUNTS.values() for amount in amounts}


def supporting_amounts(group: str, customer: Customer, raises: bool) -> list[Amount]:
    """Return the amounts of a group that support a direction, the most different first."""
    amounts = [amount for amount in _AMOUNTS.get(group, ()) if amount.supports(customer, raises)]
    return sorted(amounts, key=lambda amount: -amount.difference(customer))


COLUMNS = frozenset(
    {
        "recency_days",
        "gap_median",
        "gap_max",
        "gap_last",
        "spend_4h",
        "overdue_share",
        "rating_last",
        "season_ahead",
        "season_alone",
        *AMOUNT_OF,
    }
)


def stored_reason(feature: str, text: str, weight: float, direction: str) -> dict[str, Any]:
    """Return a reason as it is stored.

    `direction`: `retention.templating.RAISES` or `LOWERS`.
    """
    return {"feature": feature, "text": text, "weight": round(weight, 3), "direction": direction}
