"""Recompute features from raw rows with pandas, independently of `retention.features`.

A customer's orders are the rows with one order id, or, without ids, of one day (UTC).
"""

from datetime import datetime

import numpy as np
import pandas as pd

DAY = pd.Timedelta(days=1)
EVENTS = {  # feature → types of events, and horizons
    "views_1h": (("view", "search"), 1),
    "carts_1h": (("cart",), 1),
    "emails_1h": (("email_open", "email_click"), 1),
    "returns_4h": (("return",), 4),
    "redemptions_4h": (("coupon_redeem",), 4),
    "support_4h": (("support",), 4),
}
COUNTED = ("items_4h", "regular_items", "overdue_items", "discount_share", *EVENTS)


def features(rows: pd.DataFrame, cutoff: datetime, horizon: int) -> pd.DataFrame:
    """Features of every customer with a purchase before the cutoff, by customer id."""
    now = pd.Timestamp(cutoff)
    rows = rows[rows.occurred_at < now]
    orders = _orders(rows[rows.event_type == "purchase"], now)
    table = pd.DataFrame(index=pd.Index(sorted(orders.customer_id.unique())))
    by = orders.groupby("customer_id")
    table["recency_days"], table["tenure_days"] = by.age.min(), by.age.max()
    table["orders_all"] = by.size()
    for name, days in (("1h", horizon), ("2h", 2 * horizon), ("4h", 4 * horizon)):
        recent = orders[orders.age <= days].groupby("customer_id")
        table[f"orders_{name}"] = recent.size().reindex(table.index).fillna(0)
        if "amount" in orders:
            table[f"spend_{name}"] = recent.amount.sum().reindex(table.index).fillna(0)
    if "amount" in orders:
        table["spend_all"] = by.amount.sum()
        table["basket_mean"] = table.spend_all / table.orders_all
    for name, values in _gaps(orders).items():
        table[name] = values.reindex(table.index)
    weekday = orders.moment.dt.dayofweek
    table["weekend_share"] = (weekday >= 5).groupby(orders.customer_id).mean()
    favourite = pd.crosstab(orders.customer_id, weekday).max(axis=1)
    table["weekday_share"] = favourite / table.orders_all
    return table.join(_recent(rows, orders, now, horizon))


def _orders(bought: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    named = "order_id" in bought
    key = bought.order_id if named else bought.occurred_at.dt.floor("D").astype(str)
    folded = bought.assign(key=key).groupby(["customer_id", "key"])
    sums = {name: folded[name].sum() for name in ("amount", "discount") if name in bought}
    channel = {"channel": folded.channel.max()} if "channel" in bought else {}
    orders = pd.DataFrame(
        {"moment": folded.occurred_at.min(), "lines": folded.size(), **sums} | channel
    )
    orders = orders.reset_index()
    return orders.assign(age=(now - orders["moment"]) / DAY)


def _gaps(orders: pd.DataFrame) -> dict[str, pd.Series]:
    days = orders.assign(day=orders["moment"].dt.floor("D"))[["customer_id", "day"]]
    days = days.drop_duplicates().sort_values(["customer_id", "day"])
    gap = days.groupby("customer_id").day.diff() / DAY
    by = gap.dropna().groupby(days.customer_id)
    return {"gap_median": by.median(), "gap_max": by.max(), "gap_last": by.last()}


def _recent(
    rows: pd.DataFrame, orders: pd.DataFrame, now: pd.Timestamp, horizon: int
) -> pd.DataFrame:
    """Features of the last four horizons and of other events."""
    since = now - 4 * horizon * DAY
    last = orders[orders.age <= 4 * horizon]
    by = last.groupby("customer_id")
    table = {"lines_per_order": by.lines.mean()}
    if "discount" in rows and "amount" in rows:
        total = by.amount.sum() + by.discount.sum()
        table["discount_share"] = (by.discount.sum() / total).where(total != 0)
    if "channel" in rows:
        online = orders.channel.isin(["web", "app", "online"])
        table["online_share"] = online.groupby(orders.customer_id).mean()
        table["channels"] = orders.groupby("customer_id").channel.nunique()
    if "item_id" in rows:
        recent = rows[(rows.event_type == "purchase") & (rows.occurred_at >= since)]
        items = recent.groupby(["customer_id", "item_id"]).occurred_at.agg(["size", "min", "max"])
        table["items_4h"] = items.groupby("customer_id").size()
        often = items[(items["size"] >= 3) & (items["max"] > items["min"])]
        usual = (often["max"] - often["min"]) / (often["size"] - 1)
        overdue = (now - often["max"]) > usual
        table["regular_items"] = often.groupby("customer_id").size()
        table["overdue_items"] = overdue.groupby("customer_id").sum()
        table["overdue_share"] = table["overdue_items"] / table["regular_items"]
    age = (now - rows.occurred_at) / DAY
    for name, (types, windows) in EVENTS.items():
        if rows.event_type.isin(types).any():
            mine = rows[rows.event_type.isin(types) & (age <= windows * horizon)]
            table[name] = mine.groupby("customer_id").size()
    counted = pd.DataFrame(table).reindex(sorted(orders.customer_id.unique()))
    return counted.fillna(dict.fromkeys(COUNTED, 0))


def typical(
    rows: pd.DataFrame, cutoffs: list[datetime], horizon: int, active_within: int | None
) -> pd.Series:
    """The median of each feature over the active customers at all cutoffs."""
    tables = [features(rows, cutoff, horizon) for cutoff in cutoffs]
    active = [table[table.recency_days <= (active_within or np.inf)] for table in tables]
    return pd.concat(active).median()


def churn_rate(
    rows: pd.DataFrame, cutoffs: list[datetime], horizon: int, active_within: int | None
) -> float:
    """The share of the active customers at all cutoffs without an order in the horizon."""
    bought = rows[rows.event_type == "purchase"]
    churned = []
    for cutoff in cutoffs:
        now = pd.Timestamp(cutoff)
        newest = bought[bought.occurred_at < now].groupby("customer_id").occurred_at.max()
        active = newest[(now - newest) / DAY <= (active_within or np.inf)].index
        window = bought[(bought.occurred_at >= now) & (bought.occurred_at < now + horizon * DAY)]
        churned += list(~active.isin(window.customer_id))
    return float(np.mean(churned))
