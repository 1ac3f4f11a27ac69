"""Find items due again and new arrivals, and replace barred items.

`retention.recommend` suggests the rest.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from retention.campaigns.planning.offer_terms import SuggestedItem, stored_items
from retention.db import Transaction
from retention.db.tables import Assignment
from retention.lake.item_titles import readable_title
from retention.lake.lake import naive
from retention.text import gettext, use_shop_language

if TYPE_CHECKING:
    import pandas as pd

    from retention.lake import Lake

NEW_ARRIVAL = "new"  # source of new arrivals
MIN_PURCHASE_DAYS = 3  # with the item, to define a usual gap
DUE_GAPS = (0.8, 3.0)  # usual gaps since the last purchase; later, the customer gave it up
FAVOURITE_DAYS = 365  # of purchases, for the favourite category
Offer = Mapping[str, Any]
MergeItems = Callable[[str, Sequence[Any], Sequence[Any], int], list[Any]]


@dataclass(frozen=True, slots=True)
class ListedItem:
    """An item and the reason it is listed."""

    item_id: str
    title: str
    source: str
    why: str


def due_again(
    lake: "Lake", ids: Iterable[str], as_of: datetime, k: int
) -> dict[str, list[ListedItem]]:
    """Return items that customers are due to buy again.

    An item bought on at least `MIN_PURCHASE_DAYS` days has a usual gap, (last − first) ÷ (days −
    1). It is due from 0.8 to 3 gaps after the last purchase.

    Returns: up to ``k`` items by customer id, most regular first. Customers without a due item are
    missing.
    """
    events = lake.table("events", before=as_of).filter(lambda t: t.event_type == "purchase")
    daily = (
        events_of(events, ids)
        .filter(lambda t: t.item_id.notnull())
        .mutate(day=lambda t: t.occurred_at.date())
        .distinct(on=["customer_id", "item_id", "day"])
    )
    rhythm = daily.group_by("customer_id", "item_id").aggregate(
        days=daily.count(), first=daily.occurred_at.min(), last=daily.occurred_at.max()
    )
    items = sellable(lake, rhythm.filter(rhythm.days >= MIN_PURCHASE_DAYS)).execute()
    gap = (items["last"] - items["first"]) / (items["days"] - 1)
    items["late"] = (naive(as_of) - items["last"]) / gap
    items = items[(items["late"] >= DUE_GAPS[0]) & (items["late"] <= DUE_GAPS[1])]
    gap_days = (gap.dt.days + 0.0).round().astype(int).clip(lower=1)
    with use_shop_language():  # the shop's mail platform gets it
        reason = gettext("usually bought again every {days} days")
    items["why"] = gap_days.map(lambda days: reason.format(days=days))
    order = items.sort_values(
        ["customer_id", "days", "late", "item_id"], ascending=[True, False, False, True]
    )
    return top_items(lake, order, k, "due")


def _new_in(category: str) -> str:
    with use_shop_language():
        return gettext("new in {category}").format(category=category)


def new_arrivals(
    lake: "Lake", ids: Iterable[str], as_of: datetime, k: int, days: int
) -> dict[str, list[ListedItem]]:
    """Return new items in each customer's favourite category.

    The favourite has the most days of purchase in the last year. An item is new if its first
    purchase or view is less than ``days`` old. Those of the lake must go back at least twice as
    far: opens of e-mails may be older.

    `days`: largest age of a new item, in days.
    Returns: up to ``k`` items not bought yet by customer id, best sellers first. Customers without
    one are missing.
    """
    events = lake.table("events", before=as_of)
    events = events.filter(events.event_type.isin(["purchase", "view"]))
    first_event = events.occurred_at.min().execute()
    is_unknown = first_event is None or first_event != first_event
    if is_unknown or naive(as_of) - first_event < timedelta(days=2 * days):
        return {}
    seen = (
        events.filter(events.item_id.notnull())
        .group_by("item_id")
        .aggregate(
            first=events.occurred_at.min(),
            buyers=events.customer_id.nunique(where=events.event_type == "purchase"),
        )
    )
    recent = seen.filter(seen["first"] >= naive(as_of - timedelta(days=days)))
    new_items = sellable(lake, recent).execute()
    favourites = _favourite_categories(lake, ids, as_of)
    pairs = favourites.merge(new_items.dropna(subset=["category"]), on="category")
    pair = ["customer_id", "item_id"]
    bought = events_of(events.filter(events.event_type == "purchase"), ids)
    owned = bought.select(*pair).distinct().execute()
    candidates = pairs.merge(owned, on=pair, how="left", indicator=True)
    candidates = candidates[candidates["_merge"] == "left_only"]
    candidates = candidates.assign(why=candidates["category"].map(_new_in))
    order = candidates.sort_values(
        ["customer_id", "buyers", "item_id"], ascending=[True, False, True]
    )
    return top_items(lake, order, k, NEW_ARRIVAL)


def _favourite_categories(lake: "Lake", ids: Iterable[str], as_of: datetime) -> "pd.DataFrame":
    """``customer_id, category`` of customers with a favourite category."""
    since = as_of - timedelta(days=FAVOURITE_DAYS)
    events = events_of(lake.table("events", before=as_of, since=since), ids)
    purchases = events.filter(events.event_type == "purchase", events.occurred_at >= naive(since))
    items = lake.table("items").select("item_id", "category")
    lines = purchases.join(items, "item_id").filter(lambda t: t.category.notnull())
    purchase_days = lines.group_by("customer_id", "category").aggregate(
        days=lines.occurred_at.date().nunique()
    )
    ordered = purchase_days.execute().sort_values(
        ["customer_id", "days", "category"], ascending=[True, False, True]
    )
    return ordered.drop_duplicates("customer_id")[["customer_id", "category"]]


def events_of(events: Any, ids: Iterable[str]) -> Any:
    """Return the events of some customers."""
    import ibis

    customers = ibis.memtable({"customer_id": sorted(set(ids))}, schema={"customer_id": "string"})
    return events.semi_join(customers, "customer_id")


def sellable(lake: "Lake", table: Any) -> Any:
    """Return the rows of items with a title that are in stock, with title and category."""
    items = lake.table("items").select("item_id", "title", "category", "in_stock")
    joined = table.join(items, "item_id")
    return joined.filter(joined.title.notnull(), joined.in_stock.fill_null(True)).drop("in_stock")


def top_items(
    lake: "Lake", ordered: "pd.DataFrame", k: int, source: str
) -> dict[str, list[ListedItem]]:
    """Return the first items of each customer: ``customer_id, item_id, title, why``, in order."""
    best = ordered.groupby("customer_id", sort=False).head(k)
    items: dict[str, list[ListedItem]] = {}
    own = lake.own_titles()
    for row in best.itertuples():
        title = own.get(row.item_id) or readable_title(row.title)
        item = ListedItem(row.item_id, title, source, row.why)
        items.setdefault(row.customer_id, []).append(item)
    return items


def offers_with_barred_items(
    session: Transaction, campaign_id: str, barred: Collection[str]
) -> dict[str, Offer]:
    """Return offers that contain a barred item."""
    treated = (Assignment.campaign_id == campaign_id, Assignment.arm == "treatment")
    rows = session.execute(select(Assignment.customer_id, Assignment.offer).where(*treated))
    return {
        customer_id: offer
        for customer_id, offer in rows
        if any(item["item_id"] in barred for item in offer.get("items", ()))
    }


def replace_items(
    session: Transaction,
    campaign_id: str,
    offers: Mapping[str, Offer],
    lists: Mapping[str, Sequence[SuggestedItem]],
    merge_items: MergeItems,
) -> None:
    """Replace barred items in stored offers.

    Allowed items stay; the customer's current list fills the gaps.
    """
    rows = []
    for customer_id, offer in offers.items():
        stored = [ListedItem(**item) for item in offer["items"]]
        items = merge_items(customer_id, stored, lists.get(customer_id, ()), len(stored))
        changed = {**offer, "items": stored_items(items)}
        row = {"campaign_id": campaign_id, "customer_id": customer_id, "offer": changed}
        rows.append(row)
    session.execute(update(Assignment), rows)
