"""What can be recommended at all: fuel, coupons and postage are sold, but nobody is won back with them.

The shop's own word counts first (``{"recommendable": false}`` in the attributes); else the words of the category and
the department.
"""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.lake import store
from retention.lake.schema import TABLES

if TYPE_CHECKING:
    from retention.lake import Lake

_NO_PRODUCT = re.compile(
    r"\b(coupons?|fuel|gasoline|petrol|postal|postage|charitable|gift cards?)\b", re.IGNORECASE
)

_KEYS = re.compile(
    r'"assumed"\s*:\s*\[[^\]]*\]|"[^"]*"\s*:|[{}\[\]",:]|\b(?:true|false|null)\b'
)  # of JSON: what is left are the values
_SIZE = re.compile(r"\b\d[\w.]*\b|[^\w\s&'-]")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What items are called, by id in order of id, and which of them may not be recommended.

    An item that was sold but never described is not barred: its id is its title.
    """

    titles: dict[str, str]
    barred: frozenset[str]
    prices: dict[str, float] = field(default_factory=dict)
    named: dict[str, dict[str, str]] = field(
        default_factory=dict
    )  # group → item → its name in that group
    described: dict[str, str] = field(default_factory=dict)  # by its attributes
    margins: dict[str, float] = field(
        default_factory=dict
    )  # share of the price; missing where nobody said
    parents: dict[str, str] = field(
        default_factory=dict
    )  # of what it is a size or colour, where the shop says so

    def title(self, item_id: str) -> str:
        """What people call the item; its id where nobody said."""
        return self.titles.get(item_id, item_id)

    def texts_of(self, items: np.ndarray) -> list[str]:
        """All that is written of each item: title, category, brand and attributes."""
        parts = (self.named.get("category", {}), self.named.get("brand", {}), self.described)
        return [
            " ".join([self.title(item), *(part.get(item, "") for part in parts)]) for item in items
        ]

    def groups(self, items: np.ndarray) -> dict[str, np.ndarray]:
        """The number of each item's category, type (its title without sizes) and brand; −1 where nobody said."""
        return {
            group: _numbered([self.named.get(group, {}).get(item, "") for item in items])
            for group in ("category", "type", "brand")
        }


def _numbered(names: list[str]) -> np.ndarray:
    order = {name: number for number, name in enumerate(sorted(set(names) - {""}))}
    return np.array([order.get(name, -1) for name in names], dtype=np.int32)


def kind_of(title: str) -> str:
    """What is left of a title without its sizes, numbers and whatever follows a comma: ``Kids cereal, 14.5 OZ`` → ``kids cereal``.

    >>> kind_of("RED SPOTTY MUG 12cm")
    'red spotty mug'
    """
    return " ".join(_SIZE.sub(" ", title.split(",")[0].casefold()).split())


def catalogue(lake: "Lake", *, in_stock_only: bool = True) -> Catalogue:
    """The items as they are; read anew only once they have changed, for a warm worker answers many people.

    Parameters
    ----------
    lake : Lake
    in_stock_only : bool
        Bar what is out of stock, or recalled, now. An evaluation of the past leaves this off, for today's stock was not that day's.
    """
    version = lake.root, store.newest_commit(lake.root, TABLES["items"]), in_stock_only
    if version not in _KEPT:
        _KEPT.clear()
        _KEPT[version] = _read(lake, in_stock_only)
    return _KEPT[version]


_KEPT: dict[tuple[Any, ...], Catalogue] = {}  # the last one asked for


PARENTS = (
    "parent_id",
    "parent",
    "variant_of",
    "product_id",
    "style",
)  # attributes that name an item's parent
NO_PARENT = ("", "0")  # shops that number their products write 0 where an item has none
NOT_RECALLED = ("", "false", "no", "0", "null")


def _said(attributes: Any, names: tuple[str, ...]) -> Any:
    """The first of these attributes that an item has, as JSON text; empty where it has none."""
    import ibis

    return ibis.coalesce(*(attributes[name].cast("string").nullif("null") for name in names), "")


def _read(lake: "Lake", in_stock_only: bool) -> Catalogue:
    items = lake.table("items")
    said = items.attributes.try_cast("json")
    frame: Any = (
        items.filter(items.item_id.notnull())
        .select(
            "item_id",
            title=items.title.re_replace(r"\s+", " ").strip().nullif("").coalesce(items.item_id),
            words=items.category.fill_null("") + " " + said["department"].str.fill_null(""),
            recommendable=said["recommendable"].bool,
            in_stock=items.in_stock.fill_null(True),
            recalled=_said(said, ("recalled", "recall")),
            parent=_said(said, PARENTS),
            margin=items.margin.cast("float64"),
            brand=items.brand.fill_null(""),
            price=items.price.cast("float64"),
            category=items.category.fill_null(""),
            maker=items.brand.fill_null("") + said["manufacturer"].cast("string").fill_null(""),
            attributes=items.attributes.fill_null(""),
        )
        .order_by("item_id")
        .to_pyarrow()
        .to_pandas()
    )
    named = {words: _NO_PRODUCT.search(words) is None for words in frame["words"].unique()}
    told = frame["recommendable"]
    allowed = told.where(told.notna(), frame["words"].map(named)).astype(bool)
    if in_stock_only:
        allowed &= frame["in_stock"] & frame["recalled"].str.strip('"').str.casefold().isin(
            NOT_RECALLED
        )
    ids, parents = frame["item_id"], frame["parent"].str.strip('"')
    of_one = ~parents.isin(NO_PARENT)
    values = frame["attributes"].astype("str").str.replace(_KEYS, " ", regex=True)
    kinds = {title: kind_of(title) for title in frame["title"].unique()}
    return Catalogue(
        titles=dict(zip(ids, frame["title"], strict=True)),
        barred=frozenset(ids[~allowed]),
        prices=dict(zip(ids, frame["price"].astype(float), strict=True)),
        named={
            "category": dict(zip(ids, frame["category"], strict=True)),
            "type": dict(zip(ids, frame["title"].map(kinds), strict=True)),
            "brand": dict(zip(ids, frame["maker"], strict=True)),
            "label": dict(zip(ids, frame["brand"], strict=True)),
        },
        described=dict(zip(ids, values, strict=True)),
        margins=dict(zip(ids, frame["margin"].astype(float), strict=True)),
        parents=dict(zip(ids[of_one], parents[of_one], strict=True)),
    )
