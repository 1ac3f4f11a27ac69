"""Put the clauses of a customer into one sentence, or into a few words for a table."""

from collections.abc import Callable, Mapping, Sequence

from retention.churn import facts
from retention.churn.clauses import SEASON, SEVERAL, SILENT, Clause
from retention.templating import LOWERS, RAISES, count, percent
from retention.text import gettext

MAX_RAISING, MAX_LOWERING = 2, 1  # clauses of a sentence about a customer at risk
MAX_WORDS = 8  # of `short_reason`

Values = Mapping[str, float | None]


def sentence(clauses: Sequence[Clause], tier: str = "high") -> str:
    """Return one sentence: the strongest reason first, then what speaks against it.

    Parameters
    ----------
    clauses : sequence of Clause
        Of one customer, as `retention.churn.clauses.ordered` sorts them.
    tier : str
        high, medium, low or listed. Low risk begins with the reasons that lower it.

    Returns
    -------
    str
        Without a full stop.

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
        text = gettext("{reasons}; but {evidence}").format(
            reasons=text, evidence="; ".join(long_text(clause) for clause in against)
        )
    elif against:
        text = "; ".join(long_text(clause) for clause in against)
    return _capital(text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def short_reason(clauses: Sequence[Clause], tier: str = "high") -> str:
    """Return the first reason in at most `MAX_WORDS` words, for a table.

    It does not repeat the silence and the usual gap, which have their own columns.

    Parameters
    ----------
    clauses : sequence of Clause
    tier : str

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
    return facts.AMOUNT_OF[clause.code].text_of(
        _number(clause.values, "amount"),
        _number(clause.values, "typical"),
        int(_number(clause.values, "horizon")),
    )


def short_text(clause: Clause) -> str:
    """Return the words of a clause in a table."""
    if clause.code in _SHORT:
        return _SHORT[clause.code](clause.values)
    amount = facts.AMOUNT_OF[clause.code]
    own, typical = _number(clause.values, "amount"), _number(clause.values, "typical")
    return _SHORT_AMOUNTS[clause.code]().format(
        amount=amount.amount(own),
        typical=amount.number(typical),
        one_h=f"{_number(clause.values, 'horizon'):.0f}",
        two_h=f"{2 * _number(clause.values, 'horizon'):.0f}",
        four_h=f"{4 * _number(clause.values, 'horizon'):.0f}",
    )


def _number(values: Values, name: str) -> float:
    return float(values[name] or 0.0)


def _days(values: Values, name: str = "days") -> str:
    return facts.days_text(_number(values, name))


def _rhythm(usual: float) -> str:
    """Describe a gap: ``every 2 days``."""
    if usual < 2:
        return gettext("every day")
    return gettext("every {days}").format(days=count(usual, "day"))


def _silent(values: Values) -> str:
    usual, longest = _number(values, "usual"), values.get("longest")
    text = gettext("silent for {days}; usually orders {rhythm}").format(
        days=_days(values), rhythm=_rhythm(usual)
    )
    if longest is None or longest <= usual:
        return text
    return gettext("{text} (longest pause before: {days})").format(
        text=text, days=count(longest, "day")
    )


def _only_order(values: Values) -> str:
    text = gettext("silent for {days} since the only order").format(days=_days(values))
    if values["typical"] is None:
        return text
    return facts.beside_typical(text, _days(values, "typical"))


def _silent_short(values: Values) -> str:
    longest = values.get("longest")
    if longest is None:
        return gettext("silent for longer than usual")
    days = _number(values, "days")
    if longest > days:  # so the silence is no record; how long it is for this customer still counts
        times = round(days / max(_number(values, "usual"), 1.0))
        if times < 2:
            return gettext("silent for longer than usual")
        return gettext("{times} times the usual pause").format(times=times)
    return gettext("longest pause before: {days}").format(days=count(longest, "day"))


def _change(values: Values) -> str:
    return gettext(
        "{orders} in the last {days:.0f} days, {before:.0f} in the {days:.0f} before"
    ).format(
        orders=count(_number(values, "now"), "order"),
        days=_number(values, "days"),
        before=_number(values, "before"),
    )


def _spend_change(values: Values) -> str:
    return gettext(
        "spent {spend:,.0f} in the last {days:.0f} days, {before:,.0f} in the {days:.0f} before"
    ).format(
        spend=_number(values, "now"), days=_number(values, "days"), before=_number(values, "before")
    )


def _season(values: Values) -> str:
    change = values.get("change")
    if change is None:
        return gettext("the time of the year")
    if change < 0:
        return gettext("repeat orders come {change} slower at this time of the year").format(
            change=percent(-change)
        )
    return gettext("repeat orders come {change} faster at this time of the year").format(
        change=percent(change)
    )


def _season_short(values: Values) -> str:
    change = values.get("change")
    if change is None:
        return gettext("the time of the year")
    template = (
        gettext("season: repeat orders {change} slower")
        if change < 0
        else gettext("season: repeat orders {change} faster")
    )
    return template.format(change=percent(abs(change)))


_LONG: dict[str, Callable[[Values], str]] = {
    "silent": _silent,
    "on_time": lambda v: gettext("last order {days} ago; usually orders {rhythm}").format(
        days=_days(v), rhythm=_rhythm(_number(v, "usual"))
    ),
    "only_order": _only_order,
    "only_order_recent": lambda v: facts.beside_typical(
        gettext("the only order was {days} ago").format(days=_days(v)), _days(v, "typical")
    ),
    "within_pauses": lambda v: gettext(
        "silent for {days}; earlier pauses lasted up to {longest:.0f}"
    ).format(days=_days(v), longest=_number(v, "longest")),
    "recent": lambda v: facts.beside_typical(
        gettext("last order {days} ago").format(days=_days(v)), _days(v, "typical")
    ),
    "orders_change": _change,
    "usual_gap": lambda v: facts.beside_typical(
        gettext("usually orders {rhythm}").format(rhythm=facts.every(_number(v, "usual"))),
        facts.every(_number(v, "typical")),
    ),
    "last_gap": lambda v: gettext("{days} between the last two orders, usually {usual:.0f}").format(
        days=count(_number(v, "last"), "day"), usual=_number(v, "usual")
    ),
    "irregular": lambda v: gettext("orders {rhythm}, with pauses of up to {longest}").format(
        rhythm=facts.every(_number(v, "usual")), longest=count(_number(v, "longest"), "day")
    ),
    "regular": lambda v: gettext("orders {rhythm} without a longer pause").format(
        rhythm=facts.every(_number(v, "usual"))
    ),
    "one_day": lambda v: gettext("ordered on one day only, so there is no rhythm yet"),
    "spend_change": _spend_change,
    "less_spend": lambda v: gettext(
        "spent {usual:,.0f} per {days:.0f} days so far, {expected:,.0f} expected in the next"
    ).format(**v),
    "fewer_orders": lambda v: gettext(
        "ordered on {usual:.1f} days per {days:.0f} so far, {expected:.1f} expected in the next"
    ).format(**v),
    "overdue_items": lambda v: gettext(
        "{overdue:.0f} of {items} bought regularly should have been bought again by now"
    ).format(overdue=_number(v, "overdue"), items=count(_number(v, "items"), "item")),
    "no_regular_item": lambda v: gettext(
        "no item bought regularly in the last {days:.0f} days"
    ).format(days=_number(v, "days")),
    "rating": lambda v: gettext("rates {mean:.1f} on average, last {last:.1f}").format(
        mean=_number(v, "mean"), last=_number(v, "last")
    ),
    "season": _season,
    "silent_share": lambda v: gettext(
        "silent for {days}, longer than {share} of the active customers"
    ).format(days=_days(v), share=percent(_number(v, "share"))),
    "recent_share": lambda v: gettext(
        "last order {days} ago, more recent than that of {share} of the active customers"
    ).format(days=_days(v), share=percent(_number(v, "share"))),
    "few_orders_share": lambda v: gettext(
        "{orders} ever, and {share} of the active customers have more"
    ).format(orders=count(_number(v, "orders"), "order"), share=percent(_number(v, "share"))),
    "many_orders_share": lambda v: gettext(
        "{orders} ever, and {share} of the active customers have fewer"
    ).format(orders=count(_number(v, "orders"), "order"), share=percent(_number(v, "share"))),
    SEVERAL: lambda v: gettext("several small signs together, none of which stands out"),
}
_SHORT: dict[str, Callable[[Values], str]] = {
    "silent": _silent_short,
    "on_time": lambda v: gettext("within the usual rhythm"),
    "only_order": lambda v: gettext("only one order so far"),
    "only_order_recent": lambda v: gettext("the only order is recent"),
    "within_pauses": lambda v: gettext("earlier pauses lasted up to {days}").format(
        days=count(_number(v, "longest"), "day")
    ),
    "recent": lambda v: gettext("ordered recently; typical {days}").format(
        days=_days(v, "typical")
    ),
    "orders_change": lambda v: gettext("{orders} in {days:.0f} days, {before:.0f} before").format(
        orders=count(_number(v, "now"), "order"),
        days=_number(v, "days"),
        before=_number(v, "before"),
    ),
    "usual_gap": lambda v: gettext("typical customers order {rhythm}").format(
        rhythm=facts.every(_number(v, "typical"))
    ),
    "last_gap": lambda v: gettext("{days} between the last two orders").format(
        days=count(_number(v, "last"), "day")
    ),
    "irregular": lambda v: gettext("irregular; pauses of up to {days}").format(
        days=count(_number(v, "longest"), "day")
    ),
    "regular": lambda v: gettext("never paused for longer"),
    "one_day": lambda v: gettext("ordered on one day only"),
    "spend_change": lambda v: gettext(
        "spent {spend:,.0f} in {days:.0f} days, {before:,.0f} before"
    ).format(spend=_number(v, "now"), days=_number(v, "days"), before=_number(v, "before")),
    "less_spend": lambda v: gettext(
        "{usual:,.0f} per {days:.0f} days, {expected:,.0f} expected"
    ).format(**v),
    "fewer_orders": lambda v: gettext(
        "{usual:.1f} orders per {days:.0f} days, {expected:.1f} expected"
    ).format(**v),
    "overdue_items": lambda v: gettext("{overdue:.0f} of {items} overdue").format(
        overdue=_number(v, "overdue"), items=count(_number(v, "items"), "regular item")
    ),
    "no_regular_item": lambda v: gettext("buys no item regularly"),
    "rating": lambda v: gettext("last rating {last:.1f}, usually {mean:.1f}").format(
        mean=_number(v, "mean"), last=_number(v, "last")
    ),
    "season": _season_short,
    "silent_share": lambda v: gettext("silent longer than {share} of customers").format(
        share=percent(_number(v, "share"))
    ),
    "recent_share": lambda v: gettext("more recent than {share} of customers").format(
        share=percent(_number(v, "share"))
    ),
    "few_orders_share": lambda v: gettext("{orders}; {share} have more").format(
        orders=count(_number(v, "orders"), "order"), share=percent(_number(v, "share"))
    ),
    "many_orders_share": lambda v: gettext("{orders}; {share} have fewer").format(
        orders=count(_number(v, "orders"), "order"), share=percent(_number(v, "share"))
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
