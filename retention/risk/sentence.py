"""Put the clauses of a customer into one sentence, or into a few words for a table."""

from collections.abc import Callable, Sequence

from retention.churn.explaining import facts
from retention.churn.explaining.clauses import SEVERAL, Clause
from retention.churn.explaining.facts import SEASON, SILENT, Values, days_of, every, number, say
from retention.templating import LOWERS, RAISES, count, percent
from retention.text import gettext

MAX_RAISING, MAX_LOWERING = 2, 1  # clauses of a sentence about a customer at risk
MAX_WORDS = 8  # of `short_reason`


def sentence(clauses: Sequence[Clause], tier: str = "high") -> str:
    """Return one sentence: the strongest reason first, then what speaks against it.

    `clauses`: of one customer, as `retention.churn.explaining.clauses.ordered` sorts them.
    Returns: without a full stop.

    Examples
    --------
    >>> silent = {"days": 43, "usual": 2, "longest": 12}
    >>> sentence([Clause("silent", silent, ("recency", "rhythm"), 0.9, "raises")])
    'Silent for 43 days; usually orders every 2 days (longest pause before: 12 days)'
    """
    main, against = _sides(clauses, tier)
    if not main and not against:
        return _capital(_LONG[SEVERAL]({}))
    text = "; ".join(long_text(clause) for clause in main)
    if against and main:
        evidence = "; ".join(long_text(clause) for clause in against)
        text = gettext("{reasons}; but {evidence}").format(reasons=text, evidence=evidence)
    elif against:
        text = "; ".join(long_text(clause) for clause in against)
    return _capital(text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def short_reason(clauses: Sequence[Clause], tier: str = "high") -> str:
    """Return the first reason in at most `MAX_WORDS` words, for a table.

    It does not repeat the silence and the usual gap, which have their own columns.

    Examples
    --------
    >>> silent = {"days": 43, "usual": 2, "longest": 12}
    >>> short_reason([Clause("silent", silent, ("recency", "rhythm"), 0.9, "raises")])
    'longest pause before: 12 days'
    """
    main, against = _sides(clauses, tier)
    for clause in (*main, *against):
        return short_text(clause)
    return _SHORT[SEVERAL]({})


def _sides(clauses: Sequence[Clause], tier: str) -> tuple[list[Clause], list[Clause]]:
    raising = [clause for clause in clauses if clause.direction == RAISES]
    lowering = [clause for clause in clauses if clause.direction == LOWERS]
    codes = [clause.code for clause in raising]
    # The silence leads in every tier, and the season, no reason for one customer, in none.
    if SILENT not in codes and (tier == "low" or (codes == [SEASON] and lowering)):
        return lowering[:MAX_RAISING], raising[:MAX_LOWERING]
    return raising[:MAX_RAISING], lowering[:MAX_LOWERING]


def long_text(clause: Clause) -> str:
    """Return the words of a clause in a sentence."""
    if clause.code in _LONG:
        return _LONG[clause.code](clause.values)
    own, typical, horizon = _amount(clause)
    return facts.AMOUNT_OF[clause.code].text_of(own, typical, int(horizon))


def short_text(clause: Clause) -> str:
    """Return the words of a clause in a table."""
    if clause.code in _SHORT:
        return _SHORT[clause.code](clause.values)
    amount, (own, typical, horizon) = facts.AMOUNT_OF[clause.code], _amount(clause)
    return _SHORT_AMOUNTS[clause.code]().format(
        amount=amount.amount(own),
        typical=amount.number(typical),
        one_h=f"{horizon:.0f}",
        two_h=f"{2 * horizon:.0f}",
        four_h=f"{4 * horizon:.0f}",
    )


def _amount(clause: Clause) -> tuple[float, float, float]:
    names = ("amount", "typical", "horizon")
    own, typical, horizon = (number(clause.values, name) for name in names)
    return own, typical, horizon


def _share(values: Values) -> str:
    return percent(number(values, "share"))


def _orders(values: Values, name: str = "orders") -> str:
    return count(number(values, name), "order")


def _rhythm(values: Values) -> str:
    return every(number(values, "usual"))


def _longest(values: Values) -> str:
    return count(number(values, "longest"), "day")


def _silent(values: Values) -> str:
    usual, longest = number(values, "usual"), values.get("longest")
    message = gettext("silent for {days}; usually orders {rhythm}")
    text = message.format(days=days_of(values), rhythm=every(usual))
    if longest is None or longest <= usual:
        return text
    with_pause = gettext("{text} (longest pause before: {days})")
    return with_pause.format(text=text, days=_longest(values))


def _only_order(values: Values) -> str:
    text = gettext("silent for {days} since the only order").format(days=days_of(values))
    if values["typical"] is None:
        return text
    return facts.beside_typical(text, days_of(values, "typical"))


def _silent_short(values: Values) -> str:
    longest, days = values.get("longest"), number(values, "days")
    if longest is not None and longest <= days:
        text = gettext("longest pause before: {days}")
        return text.format(days=_longest(values))
    # The silence is no record; how long it is for this customer still counts.
    times = round(days / max(number(values, "usual"), 1.0))
    if longest is None or times < 2:
        return gettext("silent for longer than usual")
    return gettext("{times} times the usual pause").format(times=times)


def _season(values: Values) -> str:
    change = values.get("change")
    if change is None:
        return gettext("the time of the year")
    if change < 0:
        template = gettext("repeat orders come {change} slower at this time of the year")
    else:
        template = gettext("repeat orders come {change} faster at this time of the year")
    return template.format(change=percent(abs(change)))


def _season_short(values: Values) -> str:
    change = values.get("change")
    if change is None:
        return gettext("the time of the year")
    if change < 0:
        template = gettext("season: repeat orders {change} slower")
    else:
        template = gettext("season: repeat orders {change} faster")
    return template.format(change=percent(abs(change)))


_LONG: dict[str, Callable[[Values], str]] = {
    **{code: facts.TEXTS[code] for code in ("usual_gap", "last_gap", "one_day", "overdue_items")},
    "rating": facts.TEXTS["rating"],
    SILENT: _silent,
    "on_time": lambda v: gettext("last order {days} ago; usually orders {rhythm}").format(
        days=days_of(v), rhythm=_rhythm(v)
    ),
    "only_order": _only_order,
    "only_order_recent": lambda v: facts.beside_typical(
        gettext("the only order was {days} ago").format(days=days_of(v)), days_of(v, "typical")
    ),
    "within_pauses": lambda v: say(
        gettext("silent for {days}; earlier pauses lasted up to {longest:.0f}"), v, days=days_of(v)
    ),
    "recent": lambda v: facts.beside_typical(
        gettext("last order {days} ago").format(days=days_of(v)), days_of(v, "typical")
    ),
    "orders_change": lambda v: say(
        gettext("{orders} in the last {days:.0f} days, {before:.0f} in the {days:.0f} before"),
        v,
        orders=_orders(v, "now"),
    ),
    "irregular": lambda v: gettext("orders {rhythm}, with pauses of up to {longest}").format(
        rhythm=_rhythm(v), longest=_longest(v)
    ),
    "regular": lambda v: gettext("orders {rhythm} without a longer pause").format(
        rhythm=_rhythm(v)
    ),
    "spend_change": lambda v: gettext(
        "spent {spend:,.0f} in the last {days:.0f} days, {before:,.0f} in the {days:.0f} before"
    ).format(spend=v["now"], **v),
    "less_spend": lambda v: gettext(
        "spent {usual:,.0f} per {days:.0f} days so far, {expected:,.0f} expected in the next"
    ).format(**v),
    "fewer_orders": lambda v: gettext(
        "ordered on {usual:.1f} days per {days:.0f} so far, {expected:.1f} expected in the next"
    ).format(**v),
    "no_regular_item": lambda v: say(
        gettext("no item bought regularly in the last {days:.0f} days"), v
    ),
    SEASON: _season,
    "silent_share": lambda v: gettext(
        "silent for {days}, longer than {share} of the active customers"
    ).format(days=days_of(v), share=_share(v)),
    "recent_share": lambda v: gettext(
        "last order {days} ago, more recent than that of {share} of the active customers"
    ).format(days=days_of(v), share=_share(v)),
    "few_orders_share": lambda v: gettext(
        "{orders} ever, and {share} of the active customers have more"
    ).format(orders=_orders(v), share=_share(v)),
    "many_orders_share": lambda v: gettext(
        "{orders} ever, and {share} of the active customers have fewer"
    ).format(orders=_orders(v), share=_share(v)),
    SEVERAL: lambda v: gettext("several small signs together, none of which stands out"),
}
_SHORT: dict[str, Callable[[Values], str]] = {
    SILENT: _silent_short,
    "on_time": lambda v: gettext("within the usual rhythm"),
    "only_order": lambda v: gettext("only one order so far"),
    "only_order_recent": lambda v: gettext("the only order is recent"),
    "within_pauses": lambda v: gettext("earlier pauses lasted up to {days}").format(
        days=_longest(v)
    ),
    "recent": lambda v: gettext("ordered recently; typical {days}").format(
        days=days_of(v, "typical")
    ),
    "orders_change": lambda v: say(
        gettext("{orders} in {days:.0f} days, {before:.0f} before"), v, orders=_orders(v, "now")
    ),
    "usual_gap": lambda v: gettext("typical customers order {rhythm}").format(
        rhythm=every(number(v, "typical"))
    ),
    "last_gap": lambda v: gettext("{days} between the last two orders").format(
        days=count(number(v, "last"), "day")
    ),
    "irregular": lambda v: gettext("irregular; pauses of up to {days}").format(days=_longest(v)),
    "regular": lambda v: gettext("never paused for longer"),
    "one_day": lambda v: gettext("ordered on one day only"),
    "spend_change": lambda v: gettext(
        "spent {spend:,.0f} in {days:.0f} days, {before:,.0f} before"
    ).format(spend=v["now"], **v),
    "less_spend": lambda v: gettext(
        "{usual:,.0f} per {days:.0f} days, {expected:,.0f} expected"
    ).format(**v),
    "fewer_orders": lambda v: gettext(
        "{usual:.1f} orders per {days:.0f} days, {expected:.1f} expected"
    ).format(**v),
    "overdue_items": lambda v: say(
        gettext("{overdue:.0f} of {items} overdue"),
        v,
        items=count(number(v, "items"), "regular item"),
    ),
    "no_regular_item": lambda v: gettext("buys no item regularly"),
    "rating": lambda v: say(gettext("last rating {last:.1f}, usually {mean:.1f}"), v),
    SEASON: _season_short,
    "silent_share": lambda v: gettext("silent longer than {share} of customers").format(
        share=_share(v)
    ),
    "recent_share": lambda v: gettext("more recent than {share} of customers").format(
        share=_share(v)
    ),
    "few_orders_share": lambda v: gettext("{orders}; {share} have more").format(
        orders=_orders(v), share=_share(v)
    ),
    "many_orders_share": lambda v: gettext("{orders}; {share} have fewer").format(
        orders=_orders(v), share=_share(v)
    ),
    SEVERAL: lambda v: gettext("several small signs together"),
}
_SHORT_AMOUNTS: dict[str, Callable[[], str]] = {
    "orders_1h": lambda: gettext("{amount} in {one_h} days; typical {typical}"),
    "orders_2h": lambda: gettext("{amount} in {two_h} days; typical {typical}"),
    "orders_4h": lambda: gettext("{amount} in {four_h} days; typical {typical}"),
    "orders_all": lambda: gettext("{amount} ever; typical {typical}"),
    "spend_2h": lambda: gettext("spent {amount} in {two_h} days; typical {typical}"),
    "spend_all": lambda: gettext("spent {amount} ever; typical {typical}"),
    "basket_mean": lambda: gettext("{amount} per order; typical {typical}"),
    "discount_share": lambda: gettext("{amount} off on average; typical {typical}"),
    "redemptions_4h": lambda: gettext("{amount} redeemed; typical {typical}"),
    "items_4h": lambda: gettext("buys {amount}; typical {typical}"),
    "lines_per_order": lambda: gettext("{amount} lines per order; typical {typical}"),
    "weekend_share": lambda: gettext("{amount} at weekends; typical {typical}"),
    "weekday_share": lambda: gettext("{amount} on one weekday; typical {typical}"),
    "tenure_days": lambda: gettext("customer for {amount}; typical {typical}"),
    "regular_items": lambda: gettext("{amount} bought regularly; typical {typical}"),
    "returns_4h": lambda: gettext("{amount}; typical {typical}"),
    "online_share": lambda: gettext("{amount} online; typical {typical}"),
    "channels": lambda: gettext("{amount} used; typical {typical}"),
    "views_1h": lambda: gettext("{amount}; typical {typical}"),
    "carts_1h": lambda: gettext("{amount} in carts; typical {typical}"),
    "emails_1h": lambda: gettext("{amount} opened; typical {typical}"),
    "campaigns_4h": lambda: gettext("{amount} received; typical {typical}"),
    "rating_mean": lambda: gettext("rates {amount} on average; typical {typical}"),
    "support_4h": lambda: gettext("{amount} with support; typical {typical}"),
}
