"""Put the clauses of a customer into one sentence, or into a few words for a table."""

from collections.abc import Sequence

from retention.churn.explaining import facts
from retention.churn.explaining.clauses import SEVERAL, Clause
from retention.churn.explaining.facts import SEASON, SILENT, Values, Words, days_text, every, say
from retention.templating import LOWERS, RAISES, count, first_capital
from retention.text import gettext, marked

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
        return first_capital(say(_LONG[SEVERAL], {}))
    text = "; ".join(long_text(clause) for clause in main)
    if against and main:
        evidence = "; ".join(long_text(clause) for clause in against)
        text = gettext("{reasons}; but {evidence}").format(reasons=text, evidence=evidence)
    elif against:
        text = "; ".join(long_text(clause) for clause in against)
    return first_capital(text)


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
    return say(_SHORT[SEVERAL], {})


def _sides(clauses: Sequence[Clause], tier: str) -> tuple[list[Clause], list[Clause]]:
    raising = [clause for clause in clauses if clause.direction == RAISES]
    lowering = [clause for clause in clauses if clause.direction == LOWERS]
    codes = [clause.code for clause in raising]
    # The silence leads in every tier, and the season, no reason for one customer, in none.
    if SILENT not in codes and (tier == "low" or (codes == [SEASON] and lowering)):
        return lowering[:MAX_RAISING], raising[:MAX_LOWERING]
    return raising[:MAX_RAISING], lowering[:MAX_LOWERING]


class _Days(float):
    """A number of days: in words, and with a format in digits."""

    def __format__(self, form: str) -> str:
        return super().__format__(form) if form else days_text(self)


def _say(words: Words, values: Values) -> str:
    days = {name: _Days(values[name] or 0) for name in ("days", "longest") if name in values}
    return say(words, values, **days)


def long_text(clause: Clause) -> str:
    """Return the words of a clause in a sentence."""
    code, values = clause.code, clause.values
    if code in _AS_REASONS:
        return facts.fact_text(code, values)
    if code in _LONG:
        return facts.with_typical(code, _say(_LONG[code], values), values)
    own, typical, horizon = _amount(clause)
    return facts.AMOUNT_OF[code].text_of(own, typical, int(horizon))


def short_text(clause: Clause) -> str:
    """Return the words of a clause in a table."""
    if clause.code in _SHORT:
        return _say(_SHORT[clause.code], clause.values)
    amount, (own, typical, horizon) = facts.AMOUNT_OF[clause.code], _amount(clause)
    return gettext(_SHORT_AMOUNTS[clause.code]).format(
        amount=amount.amount(own),
        typical=amount.number(typical),
        one_h=f"{horizon:.0f}",
        two_h=f"{2 * horizon:.0f}",
        four_h=f"{4 * horizon:.0f}",
    )


def _amount(clause: Clause) -> tuple[float, float, float]:
    own, typical, horizon = (
        clause.values[name] or 0.0 for name in ("amount", "typical", "horizon")
    )
    return own, typical, horizon


def _silent(values: Values) -> str:
    usual, longest = values["usual"] or 0, values.get("longest")
    text = _say(marked("silent for {days}; usually orders {rhythm}"), values)
    if longest is None or longest <= usual:
        return text
    with_pause = gettext("{text} (longest pause before: {days})")
    return with_pause.format(text=text, days=_Days(longest))


def _silent_short(values: Values) -> str:
    longest, days = values.get("longest"), values["days"] or 0
    if longest is not None and longest <= days:
        return gettext("longest pause before: {days}").format(days=_Days(longest))
    # The silence is no record; how long it is for this customer still counts.
    times = round(days / max(values["usual"] or 0, 1.0))
    if longest is None or times < 2:
        return gettext("silent for longer than usual")
    return gettext("{times} times the usual pause").format(times=times)


def _season(values: Values) -> str:
    if (change := values.get("change")) is None:
        return gettext("the time of the year")
    slower = marked("repeat orders come {change} slower at this time of the year")
    faster = marked("repeat orders come {change} faster at this time of the year")
    return say(slower if change < 0 else faster, values)


def _season_short(values: Values) -> str:
    if (change := values.get("change")) is None:
        return gettext("the time of the year")
    slower = marked("season: repeat orders {change} slower")
    faster = marked("season: repeat orders {change} faster")
    return say(slower if change < 0 else faster, values)


# Facts that a sentence tells as a reason does.
_AS_REASONS = frozenset({"usual_gap", "last_gap", "one_day", "overdue_items", "rating"})
_LONG: dict[str, Words] = {
    SILENT: _silent,
    "on_time": marked("last order {days} ago; usually orders {rhythm}"),
    "only_order": marked("silent for {days} since the only order"),
    "only_order_recent": marked("the only order was {days} ago"),
    "within_pauses": marked("silent for {days}; earlier pauses lasted up to {longest:.0f}"),
    "recent": marked("last order {days} ago"),
    "orders_change": marked(
        "{orders} in the last {days:.0f} days, {before:.0f} in the {days:.0f} before"
    ),
    "irregular": marked("orders {rhythm}, with pauses of up to {longest}"),
    "regular": marked("orders {rhythm} without a longer pause"),
    "spend_change": marked(
        "spent {spend:,.0f} in the last {days:.0f} days, {before:,.0f} in the {days:.0f} before"
    ),
    "less_spend": marked(
        "spent {usual:,.0f} per {days:.0f} days so far, {expected:,.0f} expected in the next"
    ),
    "fewer_orders": marked(
        "ordered on {usual:.1f} days per {days:.0f} so far, {expected:.1f} expected in the next"
    ),
    "no_regular_item": marked("no item bought regularly in the last {days:.0f} days"),
    SEASON: _season,
    "silent_share": marked("silent for {days}, longer than {share} of the active customers"),
    "recent_share": marked(
        "last order {days} ago, more recent than that of {share} of the active customers"
    ),
    "few_orders_share": marked("{orders} ever, and {share} of the active customers have more"),
    "many_orders_share": marked("{orders} ever, and {share} of the active customers have fewer"),
    SEVERAL: marked("several small signs together, none of which stands out"),
}
_SHORT: dict[str, Words] = {
    SILENT: _silent_short,
    "on_time": marked("within the usual rhythm"),
    "only_order": marked("only one order so far"),
    "only_order_recent": marked("the only order is recent"),
    "within_pauses": lambda values: gettext("earlier pauses lasted up to {days}").format(
        days=_Days(values["longest"] or 0)
    ),
    "recent": lambda values: gettext("ordered recently; typical {days}").format(
        days=_Days(values["typical"] or 0)
    ),
    "orders_change": marked("{orders} in {days:.0f} days, {before:.0f} before"),
    "usual_gap": lambda values: gettext("typical customers order {rhythm}").format(
        rhythm=every(values["typical"] or 0)
    ),
    "last_gap": marked("{days} between the last two orders"),
    "irregular": lambda values: gettext("irregular; pauses of up to {days}").format(
        days=_Days(values["longest"] or 0)
    ),
    "regular": marked("never paused for longer"),
    "one_day": marked("ordered on one day only"),
    "spend_change": marked("spent {spend:,.0f} in {days:.0f} days, {before:,.0f} before"),
    "less_spend": marked("{usual:,.0f} per {days:.0f} days, {expected:,.0f} expected"),
    "fewer_orders": marked("{usual:.1f} orders per {days:.0f} days, {expected:.1f} expected"),
    "overdue_items": lambda values: gettext("{overdue:.0f} of {items} overdue").format(
        overdue=values["overdue"], items=count(values["items"], "regular item")
    ),
    "no_regular_item": marked("buys no item regularly"),
    "rating": marked("last rating {last:.1f}, usually {mean:.1f}"),
    SEASON: _season_short,
    "silent_share": marked("silent longer than {share} of customers"),
    "recent_share": marked("more recent than {share} of customers"),
    "few_orders_share": marked("{orders}; {share} have more"),
    "many_orders_share": marked("{orders}; {share} have fewer"),
    SEVERAL: marked("several small signs together"),
}
_SHORT_AMOUNTS = {
    "orders_1h": marked("{amount} in {one_h} days; typical {typical}"),
    "orders_2h": marked("{amount} in {two_h} days; typical {typical}"),
    "orders_4h": marked("{amount} in {four_h} days; typical {typical}"),
    "orders_all": marked("{amount} ever; typical {typical}"),
    "spend_2h": marked("spent {amount} in {two_h} days; typical {typical}"),
    "spend_all": marked("spent {amount} ever; typical {typical}"),
    "basket_mean": marked("{amount} per order; typical {typical}"),
    "discount_share": marked("{amount} off on average; typical {typical}"),
    "redemptions_4h": marked("{amount} redeemed; typical {typical}"),
    "items_4h": marked("buys {amount}; typical {typical}"),
    "lines_per_order": marked("{amount} lines per order; typical {typical}"),
    "weekend_share": marked("{amount} at weekends; typical {typical}"),
    "weekday_share": marked("{amount} on one weekday; typical {typical}"),
    "tenure_days": marked("customer for {amount}; typical {typical}"),
    "regular_items": marked("{amount} bought regularly; typical {typical}"),
    "returns_4h": marked("{amount}; typical {typical}"),
    "online_share": marked("{amount} online; typical {typical}"),
    "channels": marked("{amount} used; typical {typical}"),
    "views_1h": marked("{amount}; typical {typical}"),
    "carts_1h": marked("{amount} in carts; typical {typical}"),
    "emails_1h": marked("{amount} opened; typical {typical}"),
    "campaigns_4h": marked("{amount} received; typical {typical}"),
    "contacts_lapsed": marked("{amount} of close contacts silent; typical {typical}"),
    "rating_mean": marked("rates {amount} on average; typical {typical}"),
    "support_4h": marked("{amount} with support; typical {typical}"),
    "complaints_30d": marked("{amount} in 30 days; typical {typical}"),
}
