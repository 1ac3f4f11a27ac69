"""Say in one sentence what a report means."""

from collections.abc import Mapping
from typing import Any

from retention.number_format import count, money
from retention.templating import weekday_or_day
from retention.text import gettext

MAX_CHANNELS = 2  # named in the sentence


def data_verdict(report: Mapping[str, Any]) -> str:
    """Return the verdict on a quality report.

    `report`: from `retention.reports.quality.report`: ``newest_event``, ``age_days``, ``late``,
    ``quarantined``, ``limits`` and ``as_of``.
    Returns: such as "Data is 2 days old; orders from store are missing since Monday.".
    """
    if not report["newest_event"]:
        return gettext("There is no data yet: no events have been imported.")
    days = round(report["age_days"])
    age = count(days, "day") if report["age_days"] >= 1 else gettext("less than a day")
    late = [_missing(one, report["as_of"]) for one in report["late"][:MAX_CHANNELS]]
    quarantined = sum(reason["rows"] for reason in report["quarantined"])
    if late:
        rest = "; ".join(late)
    elif quarantined:
        rest = gettext("{rows} could not be used").format(rows=count(quarantined, "row"))
    elif report["limits"]:
        text = gettext("{limits} to know about")
        rest = text.format(limits=count(len(report["limits"]), "limit"))
    else:
        return gettext("Data is {age} old and complete.").format(age=age)
    return gettext("Data is {age} old; {rest}.").format(age=age, rest=rest)


def _missing(late: Mapping[str, Any], as_of: str) -> str:
    since = weekday_or_day(late["since"], as_of)
    if not late["channel"]:
        return gettext("orders are missing since {since}").format(since=since)
    text = gettext("orders from {channel} are missing since {since}")
    return text.format(channel=late["channel"], since=since)


def digest_headline(digest: Mapping[str, Any]) -> str:
    """Return what has changed in a week, in one sentence.

    `digest`: data of `retention.reports.digest.digest`: ``risk``, ``customers`` and ``currency``.
    Returns: such as "107 customers are likely to leave, 12 more than last week; $1,790 is at
    stake.".
    """
    risk, week = digest["risk"], digest["customers"]
    if risk is None:
        return gettext("{customers} bought this week, {change}.").format(
            customers=count(week["active"], "customer"),
            change=_change(week["active"] - week["active_before"]),
        )
    stake = money(risk["revenue_at_risk"], digest["currency"])
    if "high" not in risk["change"]:
        text = gettext("{customers} likely to leave; {stake} is at stake.")
        return text.format(customers=_are(risk["tiers"]["high"]), stake=stake)
    return gettext("{customers} likely to leave, {change}; {stake} is at stake.").format(
        customers=_are(risk["tiers"]["high"]), change=_change(risk["change"]["high"]), stake=stake
    )


def _are(number: int) -> str:
    return count(number, gettext("customer is"), gettext("customers are"))


def _change(by: int) -> str:
    if by == 0:
        return gettext("as many as last week")
    if by > 0:
        words = gettext("{number} more than last week")
    else:
        words = gettext("{number} fewer than last week")
    return words.format(number=count(abs(by)))
