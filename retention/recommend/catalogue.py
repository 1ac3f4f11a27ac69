"""What can be recommended at all: fuel, coupons and postage are sold, but nobody is won back with them."""

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retention.lake import Lake

_NO_PRODUCT = re.compile(
    r"\b(coupons?|fuel|gasoline|petrol|postal|postage|charitable|gift cards?)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What items are called, by id in order of id, and which of them may not be recommended.

    An item that was sold but never described is not barred: its id is its title.
    """

    titles: dict[str, str]
    barred: frozenset[str]

    def title(self, item_id: str) -> str:
        """What people call the item; its id where nobody said."""
        return self.titles.get(item_id, item_id)


def catalogue(lake: "Lake", *, in_stock_only: bool = True) -> Catalogue:
    """Read the items.

    Parameters
    ----------
    lake : Lake
    in_stock_only : bool
        Bar what is out of stock now. An evaluation of the past leaves this off, for today's stock was not that day's.
    """
    items = lake.table("items")
    frame = (
        items.select("item_id", "title", "category", "in_stock", "attributes")
        .filter(items.item_id.notnull())
        .order_by("item_id")
        .execute()
    )
    ids = frame["item_id"].to_list()
    titles = dict(zip(ids, frame["title"].fillna(frame["item_id"]), strict=True))
    attributes = [_attributes(value) for value in frame["attributes"]]
    out_of_stock = (frame["in_stock"].fillna(True) == False).to_numpy() & in_stock_only  # noqa: E712 - an array
    category = frame["category"].fillna("").to_numpy(dtype=object)
    barred = {
        item
        for item, kind, more, gone in zip(ids, category, attributes, out_of_stock, strict=True)
        if gone or not _recommendable(kind, more)
    }
    return Catalogue(titles, frozenset(barred))


def _attributes(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}
    return {}


def _recommendable(category: str, attributes: dict[str, Any]) -> bool:
    """As the shop says (``{"recommendable": false}``); else by the words of category and department."""
    if isinstance(said := attributes.get("recommendable"), bool):
        return said
    words = f"{category} {attributes.get('department') or ''}"
    return not _NO_PRODUCT.search(words)
