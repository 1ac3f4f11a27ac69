"""What can be recommended at all: fuel, coupons and postage are sold, but nobody is won back with them.

The shop's own word counts first (``{"recommendable": false}`` in the attributes); else the words of the category and
the department.
"""

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
    said = items.attributes.try_cast("json")
    frame: Any = (
        items.filter(items.item_id.notnull())
        .select(
            "item_id",
            title=items.title.coalesce(items.item_id),
            words=items.category.fill_null("") + " " + said["department"].str.fill_null(""),
            recommendable=said["recommendable"].bool,
            in_stock=items.in_stock.fill_null(True),
        )
        .order_by("item_id")
        .to_pyarrow()
        .to_pandas()
    )
    named = {words: _NO_PRODUCT.search(words) is None for words in frame["words"].unique()}
    told = frame["recommendable"]
    allowed = told.where(told.notna(), frame["words"].map(named)).astype(bool)
    if in_stock_only:
        allowed &= frame["in_stock"]
    titles = dict(zip(frame["item_id"], frame["title"], strict=True))
    return Catalogue(titles, frozenset(frame.loc[~allowed, "item_id"]))
