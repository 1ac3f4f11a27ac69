"""What one customer likes, as people read it: "mostly coffee, mid-price, Saturdays".

Every event counts by its kind and fades with age, as for the models: purchases, carts, views (the longer the more), searches, redeemed
coupons and good ratings for a category and a brand; returns and bad ratings against them. A habit is only named where it is surely
stronger than the whole shop's.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.recommend.history import DAY, PURCHASE, UNRATED, VIEW, WEIGHTS, scale

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

HALF_LIFE = 90  # days
SHOWN = 3
MOSTLY = 0.5  # of the weight, from which one or two categories stand for a customer
LONGEST_VIEW = 2.0  # times the weight of a usual one
FEWEST_ORDERS = 5  # from which a habit can be told: one order on a Tuesday is none
SURE = 2.326  # standard errors: one-sided 99 %, for seven weekdays are looked at
BANDS = ("low-price", "mid-price", "high-price")
DAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
PARTS = {"nights": (0, 5), "mornings": (5, 11), "afternoons": (11, 17), "evenings": (17, 24)}


def portrait(lake: "Lake", customer_id: str, as_of: datetime, zone: str = "UTC") -> dict[str, Any]:
    """The customer's preferences before ``as_of``.

    Parameters
    ----------
    zone : str
        The shop's time zone: its Saturday counts.

    Returns
    -------
    dict
        ``summary`` (a few words; empty without any event), ``categories`` (name, share of the weight, and of the shop's
        sales: the largest, then what sets the customer apart) and ``brands`` (name, share), ``against``
        (name, weight: what returns and bad ratings outweigh), ``price`` (band and mean rank, 0 to 1, of what they buy among the prices of
        its category; None unknown), ``weekday`` and ``hours`` (name, share, and the shop's; None where it is no habit),
        ``searches``, ``coupons`` (redeemed, received, share of orders on discount), ``events``.
    """
    events = _events(lake, customer_id, as_of)
    bought = events[events["event_type"] == PURCHASE]
    found: dict[str, Any] = {
        "categories": _liked(events, "category", _shop_shares(lake, as_of)),
        "brands": _liked(events, "brand"),
        "against": _against(events),
        "price": _band(bought),
        **_habits(lake, bought, as_of, zone),
        "searches": _searches(events),
        "coupons": _coupons(lake, customer_id, events, bought, as_of),
        "events": len(events),
    }
    return {"summary": summary(found), **found}


def summary(found: Mapping[str, Any]) -> str:
    """The portrait in a few words."""
    names = [one["name"] for one in found["categories"]]
    shares = [one["share"] for one in found["categories"]]
    if names and shares[0] >= MOSTLY:
        what = f"mostly {names[0]}"
    elif len(names) > 1 and shares[0] + shares[1] >= MOSTLY:
        what = f"mostly {names[0]} and {names[1]}"
    else:
        own = sorted(found["categories"], key=_apart, reverse=True)
        what = (
            "a bit of everything, above all " + " and ".join(one["name"] for one in own[:2])
            if own
            else ""
        )
    habits = [found[habit]["name"] for habit in ("weekday", "hours") if found[habit]]
    band = found["price"]["band"] if found["price"] else ""
    keen = "uses coupons" if found["coupons"]["redeemed"] > 1 else ""
    against = f"not {found['against'][0]['name']}" if found["against"] else ""
    return ", ".join(word for word in (what, band, *habits, keen, against) if word)


def _events(lake: "Lake", customer_id: str, as_of: datetime) -> "pd.DataFrame":
    """One line an event: weight faded, with category, brand and price rank of its item."""
    events = lake.table("events", before=as_of)
    events = events.filter(events.customer_id == customer_id).select(
        "event_type",
        "occurred_at",
        "item_id",
        "order_id",
        "quantity",
        "discount",
        "duration_s",
        "rating",
        "query",
    )
    frame = events.join(_ranked(lake), "item_id", how="left").to_pyarrow().to_pandas()
    frame = frame.sort_values(
        ["occurred_at", "event_type", "item_id"], kind="stable", ignore_index=True
    )
    stars = scale(lake, as_of).weight(frame["rating"].astype(float)).fillna(UNRATED)
    weight = frame["event_type"].map(WEIGHTS).astype(float)
    weight = weight.where(frame["event_type"] != "review", stars).fillna(0.0)
    at = frame["occurred_at"].dt.tz_localize("UTC")
    age = (as_of - at).dt.total_seconds() / DAY
    return frame.assign(occurred_at=at, weight=weight * _length(frame) * np.exp2(-age / HALF_LIFE))


def _length(frame: "pd.DataFrame") -> "pd.Series":
    """How much longer than usual something was looked at, on a logarithmic scale; 1 where nobody measured."""
    seconds = np.log1p(
        frame["duration_s"].astype(float).where(frame["event_type"] == VIEW).clip(lower=0)
    )
    usual = seconds.median()
    factor = seconds / usual if usual and usual > 0 else seconds * np.nan
    return factor.clip(upper=LONGEST_VIEW).fillna(1.0)


def _ranked(lake: "Lake") -> Any:
    """Items with the rank of their price, 0 to 1, among those of their category."""
    import ibis

    items = lake.table("items")
    priced = items.price.notnull() & (items.price > 0)
    window = ibis.window(group_by=[items.category, priced], order_by=items.price)
    several = items.price.count().over(ibis.window(group_by=[items.category, priced])) > 1
    return items.select(
        "item_id",
        category=items.category,
        brand=items.brand,
        band=ibis.ifelse(priced & several, ibis.percent_rank().over(window), None),
    )


def _weights(events: "pd.DataFrame", group: str) -> "pd.Series":
    named = events[events[group].notna() & (events[group] != "")]
    return named.groupby(group)["weight"].sum().sort_values(ascending=False, kind="stable")


def _liked(
    events: "pd.DataFrame", group: str, shop: "pd.Series | None" = None
) -> list[dict[str, Any]]:
    """The groups with most weight; beside the whole shop's shares also those that set the customer most apart."""
    weights = _weights(events, group)
    shares = weights[weights > 0] / weights.clip(lower=0).sum()
    if shop is None:
        return [
            {"name": str(name), "share": round(float(share), 3)}
            for name, share in shares.head(SHOWN).items()
        ]
    usual = shop.reindex(shares.index).fillna(0.0)
    lines = [
        {"name": str(name), "share": round(float(share), 3), "shop": round(float(usual[name]), 3)}
        for name, share in shares.items()
    ]
    return lines[:SHOWN] + sorted(lines[SHOWN:], key=_apart, reverse=True)[: SHOWN - 1]


def _apart(line: Mapping[str, Any]) -> float:
    """What a group adds to the divergence of the customer's shares from the shop's."""
    return line["share"] * float(np.log((line["share"] + 1e-3) / (line["shop"] + 1e-3)))


def _shop_shares(lake: "Lake", as_of: datetime) -> "pd.Series":
    """In which shares of its order lines the shop sells categories."""
    events, items = lake.table("events", before=as_of), lake.table("items")
    sold = events.filter(events.event_type == PURCHASE).select("item_id")
    sold = sold.join(
        items.filter(items.category.notnull()).select("item_id", "category"), "item_id"
    )
    counted = sold.group_by("category").aggregate(lines=lambda lines: lines.count()).execute()
    shares = counted.set_index("category")["lines"].astype(float)
    return shares / shares.sum()


def _against(events: "pd.DataFrame") -> list[dict[str, Any]]:
    weights = _weights(events, "category")
    worst = weights[weights < 0].sort_values(kind="stable").head(SHOWN)
    return [
        {"name": str(name), "weight": round(float(weight), 3)} for name, weight in worst.items()
    ]


def _band(bought: "pd.DataFrame") -> dict[str, Any] | None:
    known = bought[bought["band"].notna() & (bought["weight"] > 0)]
    if known.empty:
        return None
    rank = float(np.average(known["band"].astype(float), weights=known["weight"]))
    return {"band": BANDS[min(int(3 * rank), 2)], "rank": round(rank, 3)}


def _habits(lake: "Lake", bought: "pd.DataFrame", as_of: datetime, zone: str) -> dict[str, Any]:
    """The weekday and the part of the day on which they order, where that is surely more than the shop's own share."""
    orders = bought.assign(order=bought["order_id"].fillna(bought["occurred_at"].astype("str")))
    moments = orders.drop_duplicates("order")["occurred_at"].dt.tz_convert(zone)
    shop = _shop_hours(lake, as_of, zone)
    by_day, by_hour = shop.sum(axis=1), shop.sum(axis=0)
    dated = moments.dt.time.nunique() <= 1 < len(moments)  # dates without a time
    day = _surely(np.bincount(moments.dt.dayofweek, minlength=7), by_day, DAYS)
    parts = [slice(*ends) for ends in PARTS.values()]
    hours = np.bincount(moments.dt.hour, minlength=24)
    mine, theirs = (np.array([counts[part].sum() for part in parts]) for counts in (hours, by_hour))
    return {"weekday": day, "hours": None if dated else _surely(mine, theirs, tuple(PARTS))}


def _shop_hours(lake: "Lake", as_of: datetime, zone: str) -> np.ndarray:
    """Visits of the whole shop (weekdays × hours), in its time zone."""
    import pandas as pd

    events = lake.table("events", before=as_of)
    bought = events.filter(events.event_type == PURCHASE)
    hours = bought.group_by(hour=bought.occurred_at.truncate("h"))
    counted = hours.aggregate(visits=bought.customer_id.nunique()).execute()
    at = pd.DatetimeIndex(counted["hour"]).tz_localize("UTC").tz_convert(zone)
    made = np.zeros((7, 24))
    np.add.at(made, (at.dayofweek, at.hour), counted["visits"].to_numpy(dtype=float))
    return made


def _surely(mine: np.ndarray, theirs: np.ndarray, names: tuple[str, ...]) -> dict[str, Any] | None:
    """The one whose share, with the lower bound of Wilson's interval, is most above the shop's; None where none is."""
    total = mine.sum()
    if total < FEWEST_ORDERS or not theirs.sum():
        return None
    share, usual = mine / total, theirs / theirs.sum()
    spread = SURE * np.sqrt(share * (1 - share) / total + SURE**2 / (4 * total**2))
    lower = (share + SURE**2 / (2 * total) - spread) / (1 + SURE**2 / total)
    best = int(np.argmax(lower - usual))
    if lower[best] <= usual[best]:
        return None
    return {
        "name": names[best],
        "share": round(float(share[best]), 3),
        "shop": round(float(usual[best]), 3),
    }


def _searches(events: "pd.DataFrame") -> list[str]:
    asked = events[(events["event_type"] == "search") & events["query"].notna()]
    words = asked.assign(query=asked["query"].str.strip().str.casefold())
    weights = words[words["query"] != ""].groupby("query")["weight"].sum()
    return [
        str(word) for word in weights.sort_values(ascending=False, kind="stable").head(SHOWN).index
    ]


def _coupons(
    lake: "Lake", customer_id: str, events: "pd.DataFrame", bought: "pd.DataFrame", as_of: datetime
) -> dict[str, Any]:
    """How many they got and redeemed, and which share of their order lines was on discount."""
    from retention.lake.lake import naive

    sent = lake.table("treatments")
    mine = sent.filter(
        sent.customer_id == customer_id, sent.arm == "treatment", sent.sent_at < naive(as_of)
    )
    discount = bought["discount"].astype(float).fillna(0) > 0
    return {
        "redeemed": int((events["event_type"] == "coupon_redeem").sum()),
        "received": int(mine.count().execute()),
        "discounted": round(float(discount.mean()), 3) if len(bought) else None,
    }
