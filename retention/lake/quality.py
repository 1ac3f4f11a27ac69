"""Report freshness, completeness and quarantine of the data."""

# ruff: noqa: S608 - SQL consists of quoted names and escaped literals

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import numpy as np

from retention import clock
from retention.lake import coverage
from retention.lake.importing import quarantine
from retention.lake.lake import Lake
from retention.settings import Settings
from retention.text import gettext

EXPECTED_COLUMNS = {  # columns that improve models or campaigns
    "events": ("item_id", "order_id", "quantity", "amount", "currency"),
    "customers": ("email", "marketing_consent"),
    "items": ("title", "category", "price", "margin", "in_stock"),
}

GAP_DAYS = 3
SPIKE_FACTOR = 5.0
WINDOW_DAYS = 56  # around a day, for its usual number of events
MIN_SILENCES = 5  # needed to know the shop's usual silence
MAX_SHOWN = 5  # gaps, and spikes


def quality(lake: Lake, settings: Settings) -> dict[str, Any]:
    """Measure the data before business time.

    Returns: ``rows`` by table; ``first_event`` and ``newest_event`` (ISO 8601, None without
    events); ``age_days`` of the newest; ``days`` between them and ``silent_days`` without events;
    ``customers`` with events and ``unknown_customers`` among them (without a customer row);
    ``unknown_items`` likewise; ``filled``: per table, the share of rows with a value, by column;
    ``event_types``; ``currencies``; ``quarantine``, ``quarantine_text``, ``quarantined``
    (`quarantine.summary`); ``volume`` by day (`volume`); ``returns``; ``findings``
    (`find_findings`); ``late``: channels whose orders stopped (`coverage.late_channels`).
    """
    now = clock.now()
    names = {
        name: lake.table(name, now).get_name()
        for name in ("events", "customers", "items", "treatments")
    }
    return {
        "rows": {
            name: _row(lake, f'SELECT count(*) FROM "{view}"')[0] for name, view in names.items()
        },
        **_events(lake, names, now),
        "filled": {
            table: dict(zip(columns, _row(lake, _shares(names[table], columns)), strict=True))
            for table, columns in EXPECTED_COLUMNS.items()
        },
        "event_types": _counts(lake, f'SELECT event_type FROM "{names["events"]}"'),
        "currencies": _counts(
            lake,
            "SELECT upper(trim(currency)) AS currency "
            f'FROM "{names["events"]}" WHERE currency IS NOT NULL',
        ),
        **quarantine.summary(lake.duckdb, settings),
        "volume": volume(lake, names["events"]),
        "returns": _returns(lake, names["events"], now),
        "findings": find_findings(lake),
        "late": coverage.late_channels(lake, names["events"], now),
    }


def volume(lake: Lake, events: str) -> dict[str, Any]:
    """Count events by day, without opens and clicks of e-mails, and find gaps and spikes.

    Returns: ``since`` (ISO date, None without events) and ``counts``, one per day from then on.
    ``gaps``: three or more silent days, and longer than 90% of the shop's silences, with ``since``,
    ``until`` (the last silent day) and ``days``. ``spikes``: days five times off the median of the
    eight weeks around them, and off that of the same weekdays, with ``day``, ``events``, ``usual``.
    """
    sql = (
        f'SELECT occurred_at::DATE AS day, count(*) FROM "{events}" '
        f"WHERE event_type NOT IN {coverage.REACTIONS} GROUP BY 1 ORDER BY 1"
    )
    rows = lake.duckdb.execute(sql).fetchnumpy()
    if not len(rows["day"]):
        return {"since": None, "counts": [], "gaps": [], "spikes": []}
    days = rows["day"].astype("datetime64[D]")
    counts = np.zeros(int((days[-1] - days[0]).astype(int)) + 1, dtype=int)
    counts[(days - days[0]).astype(int)] = rows["count_star()"]
    return {
        "since": str(days[0]),
        "counts": counts.tolist(),
        "gaps": _gaps(days),
        "spikes": _spikes(counts, days[0]),
    }


def _gaps(days: np.ndarray) -> list[dict[str, Any]]:
    silent = np.diff(days).astype(int) - 1
    runs = silent[silent > 0]
    if not len(runs):
        return []
    usual = np.quantile(runs, 0.9) if len(runs) >= MIN_SILENCES else 0
    places = np.flatnonzero((silent >= GAP_DAYS) & (silent > usual))
    return [
        {
            "since": str(days[place] + 1),
            "until": str(days[place + 1] - 1),
            "days": int(silent[place]),
        }
        for place in places[np.argsort(-silent[places])][:MAX_SHOWN]
    ]


def _spikes(counts: np.ndarray, first: np.datetime64) -> list[dict[str, Any]]:
    if len(counts) < WINDOW_DAYS:
        return []
    padded = np.pad(
        np.where(counts > 0, counts, np.nan).astype(float), WINDOW_DAYS // 2, constant_values=np.nan
    )
    around = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_DAYS // 2 * 2 + 1)
    # A shop may close on Saturdays and still accept returns.
    weekday = np.delete(around[:, ::7], WINDOW_DAYS // 14, axis=1)
    usual, same_weekday = np.nanmedian(around, axis=1), _median(weekday)
    off, off_weekday = (
        np.abs(np.log(np.maximum(counts, 1) / each)) for each in (usual, same_weekday)
    )
    # Compare each day with the days it resembles most.
    is_weekday_closer = off_weekday < off
    usual, off = (
        np.where(is_weekday_closer, same_weekday, usual),
        np.where(is_weekday_closer, off_weekday, off),
    )
    noise = 5 / np.sqrt(usual)  # small counts vary by chance
    is_spike = (counts > 0) & (off > np.maximum(np.log(SPIKE_FACTOR), noise))
    is_spike[[0, -1]] = False  # half days
    places = np.flatnonzero(is_spike)
    return [
        {
            "day": str(first + int(place)),
            "events": int(counts[place]),
            "usual": round(float(usual[place])),
        }
        for place in places[np.argsort(-off[places])][:MAX_SHOWN]
    ]


def _median(rows: np.ndarray) -> np.ndarray:
    """Return each row's median, ignoring NaN."""
    known = ~np.isnan(rows).all(axis=1)
    medians = np.full(len(rows), np.nan)
    medians[known] = np.nanmedian(rows[known], axis=1)
    return medians


def _returns(lake: Lake, events: str, now: datetime) -> dict[str, int]:
    """Count returns, matched returns and cancelled orders."""
    undone = lake.returns(now).get_name()
    number, matched = _row(
        lake,
        "SELECT count(DISTINCT event_id), "
        "count(DISTINCT event_id) FILTER (undoes_event_id IS NOT NULL) "
        f'FROM "{undone}"',
    )
    cancelled = (
        "SELECT DISTINCT customer_id, order_id"
        + f" FROM \"{events}\" WHERE event_type = 'cancelled'"
    )
    return {
        "returns": number,
        "matched": matched,
        "cancelled_orders": _row(lake, f"SELECT count(*) FROM ({cancelled})")[0],
    }


def _events(lake: Lake, names: dict[str, str], now: datetime) -> dict[str, Any]:
    counted = f"FILTER (event_type NOT IN {coverage.REACTIONS})"
    first, newest, active, customers = _row(
        lake,
        f"SELECT min(occurred_at) {counted}, max(occurred_at) {counted}, "
        f"count(DISTINCT occurred_at::DATE) {counted}, count(DISTINCT customer_id) "
        f'FROM "{names["events"]}"',
    )
    span = (newest.date() - first.date()).days + 1 if newest else 0
    return {
        "first_event": first and first.replace(tzinfo=UTC).isoformat(),
        "newest_event": newest and newest.replace(tzinfo=UTC).isoformat(),
        "age_days": newest
        and round((now - newest.replace(tzinfo=UTC)).total_seconds() / 86_400, 1),
        "days": span,
        "silent_days": span - active,
        "customers": customers,
        **{
            f"unknown_{table}": _row(
                lake,
                f'SELECT count(DISTINCT {key}) FROM "{names["events"]}" '
                f'ANTI JOIN "{names[table]}" USING ({key}) '
                f"WHERE {key} IS NOT NULL",
            )[0]
            for table, key in (("customers", "customer_id"), ("items", "item_id"))
        },
    }


def _shares(view: str, columns: tuple[str, ...]) -> str:
    """Return SQL of the filled shares by column. Only purchases among events need an amount."""
    shares = ", ".join(f"round(count({column}) / nullif(count(*), 0), 4)" for column in columns)
    purchases = " WHERE event_type = 'purchase'" if view.startswith("events") else ""
    return f'SELECT {shares} FROM "{view}"{purchases}'


def _counts(lake: Lake, values: str) -> dict[str, int]:
    sql = f"SELECT *, count(*) FROM ({values}) GROUP BY 1 ORDER BY 2 DESC, 1"
    rows = lake.duckdb.execute(sql).fetchall()
    return dict(rows)


def _row(lake: Lake, sql: str) -> tuple:
    return lake.duckdb.execute(sql).fetchall()[0]


MIN_LINES = 50  # with an amount, to know the usual amount of a line
MIN_FACTOR = 50  # times the 95th percentile of the shop's lines
MIN_REVENUE_SHARE = 0.005  # of the shop's revenue; revenue at risk is a small part of that
MAX_FINDINGS = 3


class FindingCode(StrEnum):
    """Kind of a finding."""

    UNMATCHED_RETURNS = "unmatched_returns"
    DOMINATING_LINE = "dominating_line"


def find_findings(lake: Lake) -> list[dict[str, Any]]:
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
        f"ORDER BY known_at DESC, order_id, item_id LIMIT {MAX_FINDINGS}"
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
        f"ORDER BY amount DESC, occurred_at LIMIT {MAX_FINDINGS}"
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
