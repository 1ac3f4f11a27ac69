"""Find sales and returns that a person should look at.

They are kept as they are; the findings only name them.
"""
# ruff: noqa: S608 - SQL consists of names of views

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from retention import clock
from retention.lake.lake import Lake
from retention.text import gettext

MIN_LINES = 50  # with an amount, to know the usual amount of a line
MIN_FACTOR = 50  # times the 95th percentile of the shop's lines
MIN_REVENUE_SHARE = 0.005  # of the shop's revenue; revenue at risk is a small part of that
MAX_SHOWN = 3


class FindingCode(StrEnum):
    """Kind of a finding."""

    UNMATCHED_RETURNS = "unmatched_returns"
    DOMINATING_LINE = "dominating_line"


def find(lake: Lake) -> list[dict[str, Any]]:
    """Find returns that cancel no order, and single lines that dominate the revenue.

    Returns: each has a ``code`` (`FindingCode`) and a ``text``. ``unmatched_returns``: ``returns``,
    ``of_returns`` and ``examples`` (order, item, day). ``dominating_line``: ``order``, ``item``,
    ``day``, ``amount``, ``quantity``, ``share`` of the shop's revenue, and whether its order
    ``is_cancelled``. Days are the shop's. No finding has a customer.
    """
    now = clock.now()
    events = lake.table("events", now).get_name()
    return [*_unmatched_returns(lake, events, now), *_dominating_lines(lake, events)]


def _unmatched_returns(lake: Lake, events: str, now: datetime) -> list[dict[str, Any]]:
    """Find returns without an earlier purchase.

    A refund without an item belongs to its order, even if it gives back only a part.
    """
    returns = lake.returns(now).get_name()
    unmatched = (
        f'SELECT * FROM "{returns}" AS back WHERE undoes_event_id IS NULL AND NOT '
        "(item_id IS NULL AND order_id IS NOT NULL AND EXISTS "
        f"(SELECT 1 FROM \"{events}\" AS sold WHERE sold.event_type IN ('purchase', 'cancelled') "
        "AND sold.customer_id = back.customer_id AND sold.order_id = back.order_id))"
    )
    number, total = lake.duckdb.execute(
        f"SELECT (SELECT count(*) FROM ({unmatched})), (SELECT count(DISTINCT event_id) "
        f'FROM "{returns}")'
    ).fetchall()[0]
    if not number:
        return []
    rows = lake.duckdb.execute(
        f"SELECT order_id, item_id, known_at FROM ({unmatched}) "
        f"ORDER BY known_at DESC, order_id, item_id LIMIT {MAX_SHOWN}"
    ).fetchall()
    examples = [
        {"order": order, "item": item, "day": _day(lake, at).isoformat()}
        for order, item, at in rows
    ]
    text = gettext(
        "{number:,} of {total:,} returns cancel no order: no earlier purchase of the same customer "
        "and item is here. The newest: {examples}."
    ).format(number=number, total=total, examples="; ".join(map(_place, examples)))
    return [
        {
            "code": FindingCode.UNMATCHED_RETURNS.value,
            "returns": number,
            "of_returns": total,
            "examples": examples,
            "text": text,
        }
    ]


def _dominating_lines(lake: Lake, events: str) -> list[dict[str, Any]]:
    """Find lines far above the shop's usual ones, with a large share of its revenue."""
    rows = lake.duckdb.execute(
        "WITH line AS (SELECT order_id, item_id, occurred_at, amount, quantity, "
        "upper(trim(currency)) AS currency, event_type = 'cancelled' AS is_cancelled "
        f"FROM \"{events}\" WHERE event_type IN ('purchase', 'cancelled') AND amount > 0), "
        "usual AS (SELECT quantile_disc(amount, 0.95) AS high, sum(amount) AS revenue, "
        "count(*) AS lines FROM line) "
        "SELECT order_id, item_id, occurred_at, amount, quantity, currency, is_cancelled, "
        "amount / revenue FROM line, usual "
        f"WHERE lines >= {MIN_LINES} AND amount >= {MIN_FACTOR} * high "
        f"AND amount >= {MIN_REVENUE_SHARE} * revenue "
        f"ORDER BY amount DESC, occurred_at LIMIT {MAX_SHOWN}"
    ).fetchall()
    findings = []
    for order, item, at, amount, quantity, currency, is_cancelled, share in rows:
        finding = {
            "code": FindingCode.DOMINATING_LINE.value,
            "order": order,
            "item": item,
            "day": _day(lake, at).isoformat(),
            "amount": amount,
            "quantity": quantity,
            "share": round(share, 4),
            "is_cancelled": is_cancelled,
        }
        if is_cancelled:
            text = gettext(
                "One line is {share:.1%} of all sales: {amount:,.2f} {currency}({place}). Its "
                "order was cancelled, so it does not count. Correct it if it was mistyped."
            )
        else:
            text = gettext(
                "One line is {share:.1%} of all sales: {amount:,.2f} {currency}({place}). If it "
                "was mistyped or cancelled, correct it: it can dominate the revenue at risk."
            )
        place = _place(finding)
        finding["text"] = text.format(
            share=share, amount=amount, currency=f"{currency} " if currency else "", place=place
        )
        findings.append(finding)
    return findings


def _place(row: dict[str, Any]) -> str:
    """Say where a row is: its order, item and day."""
    parts = [
        gettext("order {order}").format(order=row["order"]) if row["order"] else "",
        gettext("item {item}").format(item=row["item"]) if row["item"] else "",
        row["day"],
    ]
    return ", ".join(filter(None, parts))


def _day(lake: Lake, at: datetime) -> Any:
    return lake.local(at.replace(tzinfo=UTC)).date()
