"""Look up price, picture and URL of recommended items in the lake."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from retention.campaigns.email_links import web_address

if TYPE_CHECKING:
    from retention.lake import Lake

# Attributes of an item that may hold them; the first that is there counts.
PICTURES = ("image_url", "image", "picture")
URLS = ("url", "link", "product_url")


@dataclass(frozen=True, slots=True)
class Product:
    """What an e-mail shows of an item besides its title; unknown fields are empty."""

    price: float | None = None
    picture: str = ""
    url: str = ""


def find_products(lake: "Lake", ids: Collection[str]) -> dict[str, Product]:
    """Return the products of some items.

    Parameters
    ----------
    lake : Lake
        The shop's lake.
    ids : collection of str
        Item ids.

    Returns
    -------
    dict of str to Product
        By item id. Items that the lake does not have are missing.
    """
    import ibis

    if not ids:
        return {}
    wanted = ibis.memtable({"item_id": sorted(set(ids))}, schema={"item_id": "string"})
    rows = lake.table("items").select("item_id", "price", "attributes")
    found = rows.semi_join(wanted, "item_id").execute()
    return {
        str(item_id): Product(price if price == price else None, *_addresses(attributes))
        for item_id, price, attributes in found.itertuples(index=False)
    }


def offered_items(offers: Collection[Any]) -> set[str]:
    """Return the ids of the items in stored offers."""
    return {item["item_id"] for offer in offers for item in offer.get("items", ())}


def _addresses(attributes: Any) -> tuple[str, str]:
    """Return picture and URL of an item's attributes, which are JSON text."""
    import json

    try:
        values = json.loads(attributes) if isinstance(attributes, str) else attributes
    except ValueError:
        values = None
    if not isinstance(values, dict):
        return "", ""
    picture, url = (
        next(filter(None, (web_address(values.get(name)) for name in names)), "")
        for names in (PICTURES, URLS)
    )
    return picture, url
