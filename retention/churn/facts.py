"""State the facts behind the reasons of a score.

A feature group has one or more facts. A fact becomes a sentence only if its numbers support the
direction of the group's weight: silence within the customer's usual gap is no cause of a high
risk. Numbers are compared as they are shown, so a reason never says "3 (typical: 3)".
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np

from retention.templating import count, percent
from retention.text import gettext

MIN_SEASON_EFFECT = 0.05  # smallest reported change of the speed of repeat orders
MIN_SEASON_SHARE = 0.5  # of the log change; else growth or decline is most of it
LONG_PAUSE = 1.5  # × the usual gap
MIN_DIFFERENCE = 0.1  # smallest reported difference from the typical value, as a share

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Customer:
    """Features of one customer, and what is typical for the shop.

    Parameters
    ----------
    row : mapping
        Feature → value; NaN or absent if unknown.
    typical : mapping
        Feature → value of the median customer of the training data.
    horizon_days : int
    """

    row: Row
    typical: Mapping[str, float]
    horizon_days: int

    def __getitem__(self, name: str) -> float:
        return float(self.row.get(name, np.nan))

    def knows(self, *names: str) -> bool:
        """Return whether all these features are known."""
        return not any(isnan(self[name]) for name in names)


# Customer and "raises the risk" → a sentence, or None if the fact does not support the direction
Fact = Callable[[Customer, bool], str | None]


def sentences(group: str, customer: Customer, raises: bool) -> Iterator[str]:
    """Yield the sentences of a group that support a direction, the best first.

    Parameters
    ----------
    group : str
        One of `GROUPS`.
    customer : Customer
    raises : bool
        Whether the group raises the risk.
    """
    for fact in _FACTS.get(group, ()):
        if (sentence := fact(customer, raises)) is not None:
            yield sentence
    yield from _amount_sentences(_AMOUNTS.get(group, ()), customer, raises)


@dataclass(frozen=True, slots=True)
class Amount:
    """A feature whose value is told beside the shop's typical one.

    Parameters
    ----------
    column : str
        The feature.
    number : callable
        Value → text.
    noun : str
        Counted things; empty for values with their own unit.
    sentence : callable
        Translated template with the fields amount, one_h, two_h and four_h.
    more_raises : bool or None
        Whether more of it raises the risk. None: it depends on the shop.
    """

    column: str
    number: Callable[[float], str]
    noun: str
    sentence: Callable[[], str]
    more_raises: bool | None = False

    def supports(self, customer: Customer, raises: bool) -> bool:
        """Return whether the difference from the typical value supports a direction.

        Parameters
        ----------
        customer : Customer
        raises : bool
        """
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

        Parameters
        ----------
        customer : Customer
        """
        own, typical = customer[self.column], customer.typical[self.column]
        return self.text_of(own, typical, customer.horizon_days)

    def text_of(self, own: float, typical: float, horizon_days: int) -> str:
        """Describe a value next to the typical one.

        Parameters
        ----------
        own, typical : float
            Values of the customer and of the median customer.
        horizon_days : int
        """
        h = horizon_days
        sentence = self.sentence().format(
            amount=self.amount(own), one_h=h, two_h=2 * h, four_h=4 * h
        )
        return beside_typical(sentence, self.number(typical))

    def amount(self, own: float) -> str:
        """Format a value with its noun or unit."""
        return count(own, self.noun) if self.noun else self.number(own)


def _amount_sentences(
    amounts: tuple[Amount, ...], customer: Customer, raises: bool
) -> Iterator[str]:
    supporting = [amount for amount in amounts if amount.supports(customer, raises)]
    for amount in sorted(supporting, key=lambda amount: -amount.difference(customer)):
        yield amount.text(customer)


def differs(own: float, typical: float) -> bool:
    """Return whether two known values differ enough to be a reason."""
    if isnan(own) or isnan(typical):
        return False
    return bool(abs(own - typical) >= MIN_DIFFERENCE * max(abs(own), abs(typical)))


def beside_typical(sentence: str, typical: str) -> str:
    """Add the shop's typical value to a sentence.

    Parameters
    ----------
    sentence, typical : str
    """
    return gettext("{sentence} (typical for the shop: {typical})").format(
        sentence=sentence, typical=typical
    )


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


def silence_text(row: Row, horizon_days: int) -> str:
    """Describe the current silence and the usual gap.

    An example is ``no order for 31 days, usually every 6 days``.

    Parameters
    ----------
    row : mapping
        Features of the customer.
    horizon_days : int
        Not used.
    """
    usual, days = row["gap_median"], row["recency_days"]
    if isnan(usual):
        if days < 1:
            return gettext("the only order is less than a day old")
        return gettext("no order for {silence} since the only one").format(silence=days_text(days))
    if days >= usual:
        return gettext("no order for {silence}, usually {rhythm}").format(
            silence=days_text(days), rhythm=every(usual)
        )
    return gettext("last order {silence} ago, usually {rhythm}").format(
        silence=days_text(days), rhythm=every(usual)
    )


def is_late(row: Row) -> bool:
    """Return whether the silence is longer than the usual gap, as both are shown."""
    days, usual = row["recency_days"], row["gap_median"]
    return bool(days > usual and np.floor(days) > shown_gap(usual))


def is_early(row: Row) -> bool:
    """Return whether the silence is shorter than the usual gap, as both are shown."""
    days, usual = row["recency_days"], row["gap_median"]
    return bool(days < usual and np.floor(days) < shown_gap(usual))


def _silence(customer: Customer, raises: bool) -> str | None:
    """Compare the silence with the customer's own gaps."""
    if not customer.knows("gap_median", "recency_days"):
        return None
    supports = is_late if raises else is_early
    return silence_text(customer.row, customer.horizon_days) if supports(customer.row) else None


def _silence_since_only_order(customer: Customer, raises: bool) -> str | None:
    """Compare the silence of a customer without gaps with the shop's."""
    days, typical = customer["recency_days"], customer.typical.get("recency_days", np.nan)
    if not isnan(customer["gap_median"]) or isnan(typical):
        return None
    if days_text(days) == days_text(typical) or (days > typical) != raises:
        return None
    return beside_typical(silence_text(customer.row, customer.horizon_days), days_text(typical))


def _silence_within_pauses(customer: Customer, raises: bool) -> str | None:
    """A longer pause than the silence now did not end in churn."""
    if raises or not customer.knows("gap_max", "gap_median") or not is_late(customer.row):
        return None
    days, longest = customer["recency_days"], customer["gap_max"]
    if np.floor(days) >= round(longest):
        return None
    return gettext("no order for {silence}; earlier pauses lasted up to {longest:.0f}").format(
        silence=days_text(days), longest=longest
    )


def _recent_order(customer: Customer, raises: bool) -> str | None:
    """Compare a short silence with the shop's."""
    days, typical = customer["recency_days"], customer.typical.get("recency_days", np.nan)
    if raises or isnan(typical) or not np.floor(days) < np.floor(typical):
        return None
    return beside_typical(
        gettext("last order {silence} ago").format(silence=days_text(days)), days_text(typical)
    )


def _usual_gap(customer: Customer, raises: bool) -> str | None:
    """Compare the usual gap with the shop's: rare orders raise the risk."""
    usual, typical = customer["gap_median"], customer.typical.get("gap_median", np.nan)
    if not differs(usual, typical) or every(usual) == every(typical):
        return None
    if (usual > typical) != raises:
        return None
    return beside_typical(
        gettext("usually orders {rhythm}").format(rhythm=every(usual)), every(typical)
    )


def _last_gap(customer: Customer, raises: bool) -> str | None:
    """Compare the last gap with the customer's usual one."""
    if not customer.knows("gap_last", "gap_median"):
        return None
    last, usual = customer["gap_last"], customer["gap_median"]
    if shown_gap(last) == shown_gap(usual) or (last > usual) != raises:
        return None
    return gettext("{days} between the last two orders, usually {usual:.0f}").format(
        days=count(last, "day"), usual=usual
    )


def _pauses(customer: Customer, raises: bool) -> str | None:
    """Say how regular the customer is."""
    if not customer.knows("gap_median", "gap_max"):
        return None
    usual, longest = customer["gap_median"], customer["gap_max"]
    if raises and longest >= LONG_PAUSE * usual and round(longest) > shown_gap(usual):
        return gettext("usually orders {rhythm}; earlier pauses lasted up to {longest:.0f}").format(
            rhythm=every(usual), longest=longest
        )
    if not raises and round(longest) == round(usual):
        return gettext("usually orders {rhythm}, and never paused for longer before").format(
            rhythm=every(usual)
        )
    return None


def _one_order_day(customer: Customer, raises: bool) -> str | None:
    if not raises or not isnan(customer["gap_median"]):
        return None
    return gettext("ordered on one day only, so there is no rhythm yet")


def _orders_before(customer: Customer, raises: bool) -> str | None:
    """Compare the last H with the H before: the customer's own past."""
    return _change_of_orders(
        customer, raises, customer["orders_1h"], customer["orders_2h"], customer.horizon_days
    )


def _orders_long_before(customer: Customer, raises: bool) -> str | None:
    """Compare the last 2H with the 2H before."""
    return _change_of_orders(
        customer, raises, customer["orders_2h"], customer["orders_4h"], 2 * customer.horizon_days
    )


def _change_of_orders(
    customer: Customer, raises: bool, now: float, both: float, days: int
) -> str | None:
    before = both - now
    if isnan(before) or now == before or (now < before) != raises:
        return None
    return gettext("{orders} in the last {days} days, {before:.0f} in the {days} before").format(
        orders=count(now, "order"), days=days, before=before
    )


def _spend_before(customer: Customer, raises: bool) -> str | None:
    """Compare the spend of the last 2H with the 2H before: the customer's own past."""
    now, before = customer["spend_2h"], customer["spend_4h"] - customer["spend_2h"]
    if isnan(before) or round(now) == round(before) or (now < before) != raises:
        return None
    return gettext(
        "spent {spend:,.0f} in the last {days} days, {before:,.0f} in the {days} before"
    ).format(spend=now, days=2 * customer.horizon_days, before=before)


def _overdue_items(customer: Customer, raises: bool) -> str | None:
    if not customer.knows("overdue_share", "regular_items"):
        return None
    overdue, items = (
        customer["overdue_share"] * customer["regular_items"],
        customer["regular_items"],
    )
    if (round(overdue) > 0) != raises:
        return None
    return gettext(
        "{overdue:.0f} of {items} bought regularly should have been bought again by now"
    ).format(overdue=round(overdue), items=count(items, "item"))


def lacks_regular_item(customer: Customer) -> bool:
    """Return whether the customer buys nothing regularly, though the shop's customers do."""
    return customer["regular_items"] == 0 and customer.typical.get("regular_items", 0) > 0


def _no_regular_item(customer: Customer, raises: bool) -> str | None:
    if not raises or not lacks_regular_item(customer):
        return None
    return gettext("no item bought regularly in the last {days} days").format(
        days=4 * customer.horizon_days
    )


def _rating(customer: Customer, raises: bool) -> str | None:
    """Compare the last rating with the customer's mean."""
    mean, last = customer["rating_mean"], customer["rating_last"]
    if isnan(mean) or f"{mean:.1f}" == f"{last:.1f}" or (last < mean) != raises:
        return None
    return gettext("rates {mean:.1f} on average, last {last:.1f}").format(mean=mean, last=last)


def season_change(customer: Customer, raises: bool) -> float | None:
    """Return the change of repeat orders by the season, as a share.

    None if growth or decline is most of the forecast change, or if it explains no such weight.
    """
    season, total = customer["season_alone"], customer["season_ahead"]
    if not season * total > 0 or abs(season) < MIN_SEASON_SHARE * abs(total):
        return None
    change = float(np.expm1(season))
    return change if abs(change) >= MIN_SEASON_EFFECT and (change < 0) == raises else None


def _season(customer: Customer, raises: bool) -> str | None:
    """Describe the forecast change of repeat orders."""
    change = season_change(customer, raises)
    if change is None:
        return None
    if change < 0:
        sentence = gettext(
            "the time of the year: repeat orders come {change} slower than in the {days} days "
            "before"
        )
    else:
        sentence = gettext(
            "the time of the year: repeat orders come {change} faster than in the {days} days "
            "before"
        )
    return sentence.format(change=percent(abs(change)), days=customer.horizon_days)


_FACTS: dict[str, tuple[Fact, ...]] = {
    "recency": (
        _silence,
        _silence_since_only_order,
        _silence_within_pauses,
        _usual_gap,
        _recent_order,
        _one_order_day,
    ),
    "rhythm": (_usual_gap, _last_gap, _pauses, _one_order_day),
    "trend": (_orders_before, _orders_long_before),
    "spend": (_spend_before,),
    "replenishment": (_overdue_items, _no_regular_item),
    "opinion": (_rating,),
    "season": (_season,),
}


def _in_last_h() -> str:
    return gettext("{amount} in the last {one_h} days")


def _in_last_two_h() -> str:
    return gettext("{amount} in the last {two_h} days")


def _in_last_four_h() -> str:
    return gettext("{amount} in the last {four_h} days")


def _tenths(value: float) -> str:
    return f"{value:,.1f}"


def _money(value: float) -> str:
    return f"{value:,.0f}"


_AMOUNTS: dict[str, tuple[Amount, ...]] = {
    "frequency": (
        Amount("orders_1h", count, "order", _in_last_h),
        Amount("orders_2h", count, "order", _in_last_two_h),
        Amount("orders_4h", count, "order", _in_last_four_h),
        Amount("orders_all", count, "order", lambda: gettext("{amount} ever")),
    ),
    "spend": (
        Amount("spend_2h", _money, "", lambda: gettext("spent {amount} in the last {two_h} days")),
        Amount("spend_all", _money, "", lambda: gettext("spent {amount} ever")),
        Amount("basket_mean", _money, "", lambda: gettext("spends {amount} per order"), None),
    ),
    "discounts": (
        Amount(
            "discount_share",
            percent,
            "",
            lambda: gettext("{amount} off on average in the last {four_h} days"),
            None,
        ),
        Amount(
            "redemptions_4h",
            count,
            "coupon",
            lambda: gettext("{amount} redeemed in the last {four_h} days"),
            None,
        ),
    ),
    "breadth": (
        Amount("items_4h", count, "different item", _in_last_four_h),
        Amount(
            "lines_per_order",
            _tenths,
            "",
            lambda: gettext("{amount} lines per order in the last {four_h} days"),
        ),
    ),
    "habits": (
        Amount(
            "weekend_share",
            percent,
            "",
            lambda: gettext("{amount} of the orders at weekends"),
            None,
        ),
        Amount(
            "weekday_share",
            percent,
            "",
            lambda: gettext("{amount} of the orders on their favourite day of the week"),
            None,
        ),
    ),
    "tenure": (
        Amount("tenure_days", days_text, "", lambda: gettext("a customer for {amount}"), None),
    ),
    "replenishment": (
        Amount(
            "regular_items",
            count,
            "item",
            lambda: gettext("{amount} bought regularly in the last {four_h} days"),
        ),
    ),
    "returns": (Amount("returns_4h", count, "return", _in_last_four_h, True),),
    "channel": (
        Amount("online_share", percent, "", lambda: gettext("{amount} of the orders online"), None),
        Amount("channels", count, "channel", lambda: gettext("ordered through {amount}"), None),
    ),
    "intent": (
        Amount("views_1h", count, "page view", _in_last_h),
        Amount(
            "carts_1h",
            count,
            "item",
            lambda: gettext("{amount} put into the cart in the last {one_h} days"),
        ),
    ),
    "response": (
        Amount(
            "emails_1h",
            count,
            "e-mail",
            lambda: gettext("{amount} opened or clicked in the last {one_h} days"),
        ),
        Amount(
            "campaigns_4h",
            count,
            "campaign",
            lambda: gettext("{amount} received in the last {four_h} days"),
            None,
        ),
    ),
    "opinion": (
        Amount("rating_mean", _tenths, "", lambda: gettext("rates {amount} on average")),
        Amount(
            "support_4h",
            count,
            "contact",
            lambda: gettext("{amount} with support in the last {four_h} days"),
            True,
        ),
    ),
}
GROUPS = frozenset({*_FACTS, *_AMOUNTS})
AMOUNT_OF = {amount.column: amount for amounts in _AMOUNTS.values() for amount in amounts}


def amounts_of(group: str) -> tuple[Amount, ...]:
    """Return the amounts of a feature group."""
    return _AMOUNTS.get(group, ())


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
        *(amount.column for amounts in _AMOUNTS.values() for amount in amounts),
    }
)


def stored_reason(feature: str, text: str, weight: float, direction: str) -> dict[str, Any]:
    """Return a reason as it is stored.

    Parameters
    ----------
    feature : str
        Group of features.
    text : str
        The fact in words.
    weight : float
        Of the group; positive raises the risk.
    direction : str
        `retention.templating.RAISES` or `LOWERS`.
    """
    return {"feature": feature, "text": text, "weight": round(weight, 3), "direction": direction}
