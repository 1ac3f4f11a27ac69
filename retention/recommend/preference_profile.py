"""Summarise a customer's tastes in words.

For example "mostly coffee, mid-price, Saturdays". Events count by kind and decay with age, as in
the models. Purchases, carts, views (longer ones more), searches, redeemed coupons and good ratings
count for a category and brand. Returns and bad ratings count against it. A habit is named only if
it is significantly stronger than in the whole shop.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd

from retention.lake.lake import naive
from retention.recommend.history import DAY, PURCHASE, UNRATED, VIEW, WEIGHTS, rating_scale
from retention.text import gettext, phrase

if TYPE_CHECKING:
    from retention.lake import Lake

EVENT_COLUMNS = (
    *("event_type", "occurred_at", "item_id", "order_id"),
    *("discount", "duration_s", "rating", "query"),
)
HALF_LIFE = 90  # days
MAX_SHOWN = 3
MAIN_SHARE = 0.5  # of the weight, for one or two categories to be the main ones
MAX_VIEW_FACTOR = 2.0  # times the weight of a median view
MIN_ORDERS = 5  # for a habit
Z_SCORE = 2.326  # one-sided 99%, because seven weekdays are tested
BANDS = ("low-price", "mid-price", "high-price")
DAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
DAY_PARTS = {"nights": (0, 5), "mornings": (5, 11), "afternoons": (11, 17), "evenings": (17, 24)}


def preference_profile(
    lake: "Lake", customer_id: str, as_of: datetime, zone: str = "UTC"
) -> dict[str, Any]:
    """Compute a customer's preference profile before a moment.

    `zone`: the shop's time zone, for weekdays and hours.
    Returns: ``summary`` (a few words; empty without events). ``categories``: name, share of the
    weight and the shop's share of sales; the largest first, then the most distinctive. ``brands``:
    name, share. ``against``: name and weight of categories with more returns and bad ratings than
    anything else. ``price``: band and mean rank (0 to 1) among the prices of the category; None if
    unknown. ``weekday`` and ``hours``: name, share, and the shop's share; None without a habit.
    ``searches``. ``coupons``: redeemed, received, share of orders on discount. ``events``.
    """
    events = _events(lake, customer_id, as_of)
    purchases = events[events["event_type"] == PURCHASE]
    profile: dict[str, Any] = {
        "categories": _top_groups(events, "category", _shop_shares(lake, as_of)),
        "brands": _top_groups(events, "brand"),
        "against": _disliked_categories(events),
        "price": _price_band(purchases),
        **_habits(lake, purchases, as_of, zone),
        "searches": _searches(events),
        "coupons": _coupons(lake, customer_id, events, as_of),
        "events": len(events),
    }
    return {"summary": summary(profile), **profile}


def _words(code: str) -> str:
    """Name a price band, a weekday or a part of the day in the reader's language."""
    return {
        "low-price": phrase("low-price"),
        "mid-price": phrase("mid-price"),
        "high-price": phrase("high-price"),
        "Mondays": phrase("Mondays"),
        "Tuesdays": phrase("Tuesdays"),
        "Wednesdays": phrase("Wednesdays"),
        "Thursdays": phrase("Thursdays"),
        "Fridays": phrase("Fridays"),
        "Saturdays": phrase("Saturdays"),
        "Sundays": phrase("Sundays"),
        "nights": phrase("nights"),
        "mornings": phrase("mornings"),
        "afternoons": phrase("afternoons"),
        "evenings": phrase("evenings"),
    }.get(code, code)


def summary(profile: Mapping[str, Any]) -> str:
    """Summarise a profile in a few words."""
    names = [line["name"] for line in profile["categories"]]
    shares = [line["share"] for line in profile["categories"]]
    if names and shares[0] >= MAIN_SHARE:
        taste = gettext("mostly {category}").format(category=names[0])
    elif len(names) > 1 and shares[0] + shares[1] >= MAIN_SHARE:
        taste = gettext("mostly {first} and {second}").format(first=names[0], second=names[1])
    else:
        taste = _mixed_taste(profile)
    habits = [_words(profile[habit]["name"]) for habit in ("weekday", "hours") if profile[habit]]
    band = _words(profile["price"]["band"]) if profile["price"] else ""
    coupon_use = gettext("uses coupons") if profile["coupons"]["redeemed"] > 1 else ""
    against = ""
    if profile["against"]:
        against = gettext("not {category}").format(category=profile["against"][0]["name"])
    return ", ".join(word for word in (taste, band, *habits, coupon_use, against) if word)


def _mixed_taste(profile: Mapping[str, Any]) -> str:
    distinctive = sorted(profile["categories"], key=_distinctiveness, reverse=True)[:2]
    if not distinctive:
        return ""
    if len(distinctive) == 1:
        sentence = gettext("a bit of everything, above all {first}")
    else:
        sentence = gettext("a bit of everything, above all {first} and {second}")
    return sentence.format(first=distinctive[0]["name"], second=distinctive[-1]["name"])


def _events(lake: "Lake", customer_id: str, as_of: datetime) -> "pd.DataFrame":
    """Read one line per event. Adds decayed weight, category, brand and price rank."""
    events = lake.table("events", before=as_of)
    events = events.filter(events.customer_id == customer_id).select(*EVENT_COLUMNS)
    frame = events.join(_price_ranks(lake), "item_id", how="left").to_pyarrow().to_pandas()
    order = ["occurred_at", "event_type", "item_id"]
    frame = frame.sort_values(order, kind="stable", ignore_index=True)
    rating_weight = rating_scale(lake, as_of).weight(frame["rating"].astype(float)).fillna(UNRATED)
    weight = frame["event_type"].map(WEIGHTS).astype(float)
    weight = weight.where(frame["event_type"] != "review", rating_weight).fillna(0.0)
    occurred_at = frame["occurred_at"].dt.tz_localize("UTC")
    age = (as_of - occurred_at).dt.total_seconds() / DAY
    weight = weight * _relative_duration(frame) * np.exp2(-age / HALF_LIFE)
    return frame.assign(occurred_at=occurred_at, weight=weight)


def _relative_duration(frame: "pd.DataFrame") -> "pd.Series":
    """Return view durations relative to the median. On a log scale. 1 if unknown."""
    viewed = frame["duration_s"].astype(float).where(frame["event_type"] == VIEW)
    seconds = np.log1p(viewed.clip(lower=0))
    median = seconds.median()
    factor = seconds / median if median and median > 0 else seconds * np.nan
    return factor.clip(upper=MAX_VIEW_FACTOR).fillna(1.0)


def _price_ranks(lake: "Lake") -> Any:
    """Rank prices within categories, 0 to 1."""
    items = lake.table("items")
    priced = items.price.notnull() & (items.price > 0)
    group = [items.category, priced]
    rank = ibis.percent_rank().over(ibis.window(group_by=group, order_by=items.price))
    has_rank = items.price.count().over(ibis.window(group_by=group)) > 1
    band = ibis.ifelse(priced & has_rank, rank, None)
    return items.select("item_id", "category", "brand", band=band)


def _weights(events: "pd.DataFrame", group: str) -> "pd.Series":
    grouped = events[events[group].notna() & (events[group] != "")]
    return grouped.groupby(group)["weight"].sum().sort_values(ascending=False, kind="stable")


def _top_groups(
    events: "pd.DataFrame", group: str, shop: "pd.Series | None" = None
) -> list[dict[str, Any]]:
    """Return the largest and most distinctive groups. Distinctive ones need the shop's shares."""
    weights = _weights(events, group)
    shares = weights[weights > 0] / weights.clip(lower=0).sum()
    lines: list[dict[str, Any]] = [
        {"name": str(name), "share": round(float(share), 3)} for name, share in shares.items()
    ]
    if shop is None:
        return lines[:MAX_SHOWN]
    for line, usual in zip(lines, shop.reindex(shares.index).fillna(0.0), strict=True):
        line["shop"] = round(float(usual), 3)
    others = sorted(lines[MAX_SHOWN:], key=_distinctiveness, reverse=True)
    return lines[:MAX_SHOWN] + others[: MAX_SHOWN - 1]


def _distinctiveness(line: Mapping[str, Any]) -> float:
    """Compute a group's part of the divergence. KL divergence from the shop's shares."""
    return line["share"] * float(np.log((line["share"] + 1e-3) / (line["shop"] + 1e-3)))


def _shop_shares(lake: "Lake", as_of: datetime) -> "pd.Series":
    """Compute the shop's sales shares by category."""
    events, items = lake.table("events", before=as_of), lake.table("items")
    sales = events.filter(events.event_type == PURCHASE).select("item_id")
    known = items.filter(items.category.notnull()).select("item_id", "category")
    sales = sales.join(known, "item_id")
    counts = sales.group_by("category").aggregate(lines=lambda lines: lines.count()).execute()
    shares = counts.set_index("category")["lines"].astype(float)
    return shares / shares.sum()


def _disliked_categories(events: "pd.DataFrame") -> list[dict[str, Any]]:
    weights = _weights(events, "category")
    worst = weights[weights < 0].sort_values(kind="stable").head(MAX_SHOWN)
    return [{"name": str(name), "weight": round(float(w), 3)} for name, w in worst.items()]


def _price_band(purchases: "pd.DataFrame") -> dict[str, Any] | None:
    priced = purchases[purchases["band"].notna() & (purchases["weight"] > 0)]
    if priced.empty:
        return None
    rank = float(np.average(priced["band"].astype(float), weights=priced["weight"]))
    return {"band": BANDS[min(int(3 * rank), 2)], "rank": round(rank, 3)}


def _habits(lake: "Lake", purchases: "pd.DataFrame", as_of: datetime, zone: str) -> dict[str, Any]:
    """Find significant weekday and time habits. Shares are compared with the whole shop's."""
    order = purchases["order_id"].fillna(purchases["occurred_at"].astype("str"))
    moments = purchases["occurred_at"][~order.duplicated()].dt.tz_convert(zone)
    shop = _shop_hours(lake, as_of, zone)
    by_day, by_hour = shop.sum(axis=1), shop.sum(axis=0)
    has_dates_only = moments.dt.time.nunique() <= 1 < len(moments)
    weekday = _strongest_habit(np.bincount(moments.dt.dayofweek, minlength=7), by_day, DAYS)
    if has_dates_only:
        return {"weekday": weekday, "hours": None}
    hours = np.bincount(moments.dt.hour, minlength=24)
    own_counts, shop_counts = (
        np.array([counts[begin:end].sum() for begin, end in DAY_PARTS.values()])
        for counts in (hours, by_hour)
    )
    part = _strongest_habit(own_counts, shop_counts, tuple(DAY_PARTS))
    return {"weekday": weekday, "hours": part}


def _shop_hours(lake: "Lake", as_of: datetime, zone: str) -> np.ndarray:
    """Count visits by weekday and hour. In the shop's time zone."""
    events = lake.table("events", before=as_of)
    purchases = events.filter(events.event_type == PURCHASE)
    hours = purchases.group_by(hour=purchases.occurred_at.truncate("h"))
    counts = hours.aggregate(visits=purchases.customer_id.nunique()).execute()
    at = pd.DatetimeIndex(counts["hour"]).tz_localize("UTC").tz_convert(zone)
    visits = np.zeros((7, 24))
    np.add.at(visits, (at.dayofweek, at.hour), counts["visits"].to_numpy(dtype=float))
    return visits


def _strongest_habit(
    own_counts: np.ndarray, shop_counts: np.ndarray, names: tuple[str, ...]
) -> dict[str, Any] | None:
    """Find the period most above the shop's share.

    Compares the lower bound of Wilson's interval. None if no period is significant.
    """
    total = own_counts.sum()
    if total < MIN_ORDERS or not shop_counts.sum():
        return None
    share, usual = own_counts / total, shop_counts / shop_counts.sum()
    spread = Z_SCORE * np.sqrt(share * (1 - share) / total + Z_SCORE**2 / (4 * total**2))
    lower = (share + Z_SCORE**2 / (2 * total) - spread) / (1 + Z_SCORE**2 / total)
    best = int(np.argmax(lower - usual))
    if lower[best] <= usual[best]:
        return None
    return {
        "name": names[best],
        "share": round(float(share[best]), 3),
        "shop": round(float(usual[best]), 3),
    }


def _searches(events: "pd.DataFrame") -> list[str]:
    searches = events[(events["event_type"] == "search") & events["query"].notna()]
    words = searches.assign(query=searches["query"].str.strip().str.casefold())
    weights = words[words["query"] != ""].groupby("query")["weight"].sum()
    strongest = weights.sort_values(ascending=False, kind="stable").head(MAX_SHOWN)
    return [str(word) for word in strongest.index]


def _coupons(
    lake: "Lake", customer_id: str, events: "pd.DataFrame", as_of: datetime
) -> dict[str, Any]:
    """Count received and redeemed coupons. Adds the share of order lines on discount."""
    treatments = lake.table("treatments")
    received = treatments.filter(
        treatments.customer_id == customer_id,
        treatments.arm == "treatment",
        treatments.sent_at < naive(as_of),
    )
    purchases = events[events["event_type"] == PURCHASE]
    has_discount = purchases["discount"].astype(float).fillna(0) > 0
    return {
        "redeemed": int((events["event_type"] == "coupon_redeem").sum()),
        "received": int(received.count().execute()),
        "discounted": round(float(has_discount.mean()), 3) if len(purchases) else None,
    }
