"""Look up price, picture and URL of recommended items in the lake."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from retention.campaigns.message.brand import web_address
from retention.lake.item_titles import readable_title
from retention.lake.lake import naive
from retention.lake.schema import ITEM_PICTURES

if TYPE_CHECKING:
    from retention.lake import Lake

# Attributes of an item that may hold its page; the first that is there counts.
URLS = ("url", "link", "product_url")


@dataclass(frozen=True, slots=True)
class Product:
    """What an e-mail shows of an item besides its title; unknown fields are empty."""

    price: float | None = None
    picture: str = ""
    url: str = ""
    title: str = ""


def find_products(lake: "Lake", ids: Collection[str]) -> dict[str, Product]:
    """Return the products of some items."""
    import ibis

    if not ids:
        return {}
    wanted = ibis.memtable({"item_id": sorted(set(ids))}, schema={"item_id": "string"})
    rows = lake.table("items").select("item_id", "price", "attributes", "title")
    found = rows.semi_join(wanted, "item_id").execute()
    own = found["item_id"].map(lake.own_titles())
    titles = own.fillna(found["title"].fillna("").map(readable_title))
    return {
        str(item_id): Product(price if price == price else None, *_addresses(attributes), title)
        for item_id, price, attributes, title in found.assign(title=titles).itertuples(index=False)
    }


def offered_items(offers: Collection[Any]) -> set[str]:
    """Return the ids of the items in stored offers."""
    return {item["item_id"] for offer in offers for item in offer.get("items", ())}


def _addresses(attributes: Any) -> tuple[str, str]:
    """Return picture and URL of an item's attributes, which are JSON text."""
    try:
        values = json.loads(attributes) if isinstance(attributes, str) else attributes
    except ValueError:
        values = None
    if not isinstance(values, dict):
        return "", ""
    picture, url = (
        next(filter(None, (web_address(values.get(name)) for name in names)), "")
        for names in (ITEM_PICTURES, URLS)
    )
    return picture, url


MARGIN_DAYS = 56  # of sales, for the average margin


def average_margin(lake: "Lake", before: datetime, default: float) -> tuple[float, bool]:
    """Return the average margin of recent sales.

    `before`: end of the period of `MARGIN_DAYS`.
    Returns: margin as a share of sales, and whether it comes from the items.
    """
    events, items = lake.table("events", before), lake.table("items")
    recent = events.filter(
        events.event_type == "purchase",
        events.occurred_at >= naive(before - timedelta(days=MARGIN_DAYS)),
    )
    sold = recent.join(items, recent.item_id == items.item_id).select(recent.amount, items.margin)
    sold = sold.filter(sold.margin.notnull(), sold.amount > 0)
    earned = (sold.amount * sold.margin).sum()
    sums = sold.aggregate(sales=sold.amount.sum(), earned=earned).execute().iloc[0]
    if not sums["sales"] or sums["sales"] != sums["sales"]:
        return default, False
    return float(sums["earned"] / sums["sales"]), True


def assumed_fields(lake: "Lake", table: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that an import made up.

    Returns: columns named in the rows' ``attributes``.
    """
    rows = lake.table(table).select("attributes")
    found = rows.filter(rows.attributes.contains('"assumed"')).distinct().limit(200).execute()
    texts = map(json.loads, found["attributes"])
    assumed = {field for text in texts for field in text.get("assumed", [])}
    return [field for field in columns if field in assumed]
