"""Read recommendable items with titles, groups and prices.

Fuel, coupons and postage are sold but not recommended. The item's ``recommendable`` attribute
decides; without it, the words of its category and department do.
"""

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np

from retention.lake.item_titles import readable_title
from retention.lake.schema import TABLES
from retention.lake.storage import delta_store

if TYPE_CHECKING:
    from retention.lake import Lake

_NO_PRODUCT = re.compile(
    r"\b(coupons?|fuel|gasoline|petrol|postal|postage|charitable|gift cards?)\b", re.IGNORECASE
)

_JSON_SYNTAX = re.compile(
    r'"assumed"\s*:\s*\[[^\]]*\]|"[^"]*"\s*:|[{}\[\]",:]|\b(?:true|false|null)\b'
)  # leaves the values
_SIZE_OR_SYMBOL = re.compile(r"\b\d[\w.]*\b|[^\w\s&'-]")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Hold titles, groups, prices and barred items.

    Mappings are in order of id. An item without a catalogue entry is not barred; its id is its
    title.

    `named`: group → item → name of the group; ``words`` are those of category and department.
    `margins`: share of the price; NaN if unknown.
    """

    titles: dict[str, str]
    barred: frozenset[str]
    prices: dict[str, float] = field(default_factory=dict)
    named: dict[str, dict[str, str]] = field(default_factory=dict)
    described: dict[str, str] = field(default_factory=dict)
    margins: dict[str, float] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    own_titles: dict[str, str] = field(default_factory=dict)  # as people set them

    def title(self, item_id: str) -> str:
        """Return the title of an item. Its id if there is none."""
        return self.titles.get(item_id, item_id)

    def readable_title(self, item_id: str) -> str:
        """Return the title of an item for people; its id if there is none."""
        if own := self.own_titles.get(item_id):
            return own
        title = self.title(item_id)
        return title if title == item_id else readable_title(title)

    def group(self, item_id: str, kind: str) -> str:
        """Return the name of an item's group of a kind (see ``named``). Empty without one."""
        return self.named.get(kind, {}).get(item_id, "")

    def texts_of(self, items: np.ndarray) -> list[str]:
        """Return the texts that describe each item.

        They contain title, category, brand and attributes.
        """
        return [
            f"{self.title(item)} {self.group(item, 'category')} {self.group(item, 'brand')} "
            + self.described.get(item, "")
            for item in items
        ]

    def groups(self, items: np.ndarray) -> dict[str, np.ndarray]:
        """Return each item's category, type and brand codes.

        −1 if unknown. The type is the title without sizes.
        """
        return {
            kind: _numbered([self.group(item, kind) for item in items])
            for kind in ("category", "type", "brand")
        }


def _numbered(names: list[str]) -> np.ndarray:
    order = {name: number for number, name in enumerate(sorted(set(names) - {""}))}
    return np.array([order.get(name, -1) for name in names], dtype=np.int32)


def product_type(title: str) -> str:
    """Return a title without sizes and details.

    Drops numbers and the part after a comma.

    >>> product_type("RED SPOTTY MUG 12cm"), product_type("Kids cereal, 14.5 OZ")
    ('red spotty mug', 'kids cereal')
    """
    return " ".join(_SIZE_OR_SYMBOL.sub(" ", title.split(",")[0].casefold()).split())


def catalogue(lake: "Lake", *, in_stock_only: bool = True) -> Catalogue:
    """Return the catalogue as of now.

    Cached until the items change.

    `in_stock_only`: bar items that are out of stock or recalled now. Use False to evaluate the
    past, whose stock is unknown.
    """
    state = lake.root, delta_store.newest_commit(lake.root, TABLES["items"]), in_stock_only
    if state not in _CATALOGUES:
        _CATALOGUES.clear()
        _CATALOGUES[state] = _read_catalogue(lake, in_stock_only)
    read = _CATALOGUES[state]
    if (own := lake.own_titles()) != read.own_titles:
        read = _CATALOGUES[state] = replace(read, own_titles=own)
    return read


_CATALOGUES: dict[tuple[Any, ...], Catalogue] = {}  # by lake state; holds the last


# Attributes that may name an item's parent.
PARENTS = ("parent_id", "parent", "variant_of", "product_id", "style")
NO_PARENT = ("", "0")  # some shops write 0 for "no parent"
NOT_RECALLED = ("", "false", "no", "0", "null")


def _first_attribute(attributes: Any, names: tuple[str, ...]) -> Any:
    """Return the first attribute with a value. It is JSON text. Empty without any."""
    return ibis.coalesce(*(attributes[name].cast("string").nullif("null") for name in names), "")


def _read_catalogue(lake: "Lake", in_stock_only: bool) -> Catalogue:
    items = lake.table("items")
    attributes = items.attributes.try_cast("json")
    frame: Any = (
        items.filter(items.item_id.notnull())
        .select(
            "item_id",
            title=items.title.re_replace(r"\s+", " ").strip().nullif("").coalesce(items.item_id),
            words=items.category.fill_null("") + " " + attributes["department"].str.fill_null(""),
            recommendable=attributes["recommendable"].bool,
            in_stock=items.in_stock.fill_null(True),
            recalled=_first_attribute(attributes, ("recalled", "recall")),
            parent=_first_attribute(attributes, PARENTS),
            margin=items.margin.cast("float64"),
            brand=items.brand.fill_null(""),
            price=items.price.cast("float64"),
            category=items.category.fill_null(""),
            maker=items.brand.fill_null("")
            + attributes["manufacturer"].cast("string").fill_null(""),
            attributes=items.attributes.fill_null(""),
        )
        .order_by("item_id")
        .to_pyarrow()
        .to_pandas()
    )
    # Iterating over Arrow strings takes several times as long as over objects.
    frame = frame.astype(dict.fromkeys(frame.columns[frame.dtypes == "str"], object))
    is_product = {words: _NO_PRODUCT.search(words) is None for words in frame["words"].unique()}
    recommendable = frame["recommendable"]
    by_words = frame["words"].map(is_product)
    is_allowed = recommendable.where(recommendable.notna(), by_words).astype(bool)
    if in_stock_only:
        recalled = frame["recalled"].str.strip('"').str.casefold()
        is_allowed &= frame["in_stock"] & recalled.isin(NOT_RECALLED)
    ids, parents = frame["item_id"], frame["parent"].str.strip('"')
    has_parent = ~parents.isin(NO_PARENT)
    described = frame["attributes"].astype("str").str.replace(_JSON_SYNTAX, " ", regex=True)
    kinds = {title: product_type(title) for title in frame["title"].unique()}
    named = {
        "words": frame["words"],
        "category": frame["category"],
        "type": frame["title"].map(kinds),
        "brand": frame["maker"],
        "label": frame["brand"],
    }
    of = partial(zip, ids, strict=True)
    return Catalogue(
        titles=dict(of(frame["title"])),
        barred=frozenset(ids[~is_allowed]),
        prices=dict(of(frame["price"].astype(float))),
        named={kind: dict(of(names)) for kind, names in named.items()},
        described=dict(of(described)),
        margins=dict(of(frame["margin"].astype(float))),
        parents=dict(zip(ids[has_parent], parents[has_parent], strict=True)),
    )


_NUMBER = r"\d+(?:[.,/]\d+)?"
_UNIT = (
    r"(?:fl\.?\s*)?(?:oz|lbs?|g|gr|kg|mg|ml|l|lt|ltr|litres?|liters?|cl|dl|mm|cm|m|in|inch(?:es)?|ft|yd|ct|count|"
    r"pk|packs?|pcs?|pieces?|sheets?|rolls?|gal?|qt|pt|dz|doz|dozen|tabs?|tablets?|caps?|capsules?|bags?|w|watt)"
)
_SIZES = re.compile(
    rf"\b{_NUMBER}(?:\s*x\s*{_NUMBER})*\s*(?:{_UNIT}\b|[\"'%])|\b(?:set|pack|box|case|bag)s?\s*(?:of|/|x)\s*\d+\b|"
    r"\b(?:xxs|xs|xl|xxl|xxxl|\d?xl|small|medium|large)\b|\bsize\s+\w+\b|(?<=[\s,(/-])[sml]\)?$",
    re.IGNORECASE,
)
_COLOURS = re.compile(
    r"\b(?:black|white|red|green|blue|yellow|orange|purple|pink|brown|gr[ea]y|beige|cream|ivory|turquoise|teal|navy|gold|"
    r"silver|bronze|copper|lilac|lavender|mint|violet|burgundy|maroon|khaki|coral|peach|magenta|cyan|charcoal)\b"
)
_SYMBOLS = re.compile(r"[^\w\s&'.#+-]")


@lru_cache(maxsize=100_000)
def variant_of(title: str) -> str:
    """Return a title without sizes and colours.

    All variants of a product share it. Colours stay if fewer than two words remain. Bare numbers
    stay: ``Coffee no. 3`` is not ``Coffee no. 4``.

    >>> variant_of("RED SPOTTY MUG 12cm"), variant_of("White wine 75 cl")
    ('spotty mug', 'white wine')
    >>> variant_of("Kids cereal, 14.5 OZ")
    'kids cereal'
    """
    words = _SYMBOLS.sub(" ", _SIZES.sub(" ", title.casefold())).split()
    without_colours = [word for word in words if not _COLOURS.fullmatch(word)]
    return " ".join(without_colours if len(without_colours) > 1 else words) or title.casefold()
