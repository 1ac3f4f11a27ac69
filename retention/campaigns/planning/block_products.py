"""Choose the products of an e-mail's block for each customer, at the time of sending.

Recommended items were stored with the offer. All others are read for many customers at once, from
events before the given time, and are stored nowhere.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from retention.campaigns.lifecycle.spec import Body
from retention.campaigns.message.merged_message import CALL, parts_of, variant_messages
from retention.campaigns.message.parts import Block, Source
from retention.campaigns.planning.due_and_new_items import (
    ListedItem,
    events_of,
    new_arrivals,
    sellable,
    top_items,
)
from retention.campaigns.planning.offer_terms import stored_items
from retention.campaigns.planning.product_details import offered_items
from retention.lake.lake import naive
from retention.risk.policy import load_policy
from retention.settings import Settings

if TYPE_CHECKING:
    from retention.lake import Lake

USUAL_COUNT = 3  # products, if the block does not say
SPARE = 3  # times as many candidates, because some may not be shown
SALES_DAYS = 365  # for the best sellers of a category
Row = dict[str, Any]  # of `launch.recipient_rows`
Items = Mapping[str, Sequence[ListedItem]]  # by customer id


def with_products(
    lake: "Lake", settings: Settings, body: Body, rows: Iterable[Row], now: datetime
) -> list[Row]:
    """Return the rows with the items that the products block of each customer's message asks for.

    `now`: only data before this moment counts.
    """
    rows = list(rows)
    ids_of: dict[Block, list[str]] = defaultdict(list)
    for row in rows:
        block = parts_of(body, row["offer"]).products
        if block and block.source != "recommended" and row["offer"]["action"] != CALL:
            ids_of[block].append(row["customer_id"])
    chosen = {
        customer_id: stored_items(items.get(customer_id, ()))
        for block, ids in ids_of.items()
        for items in [_shown_items(lake, settings, block, ids, now)]
        for customer_id in ids
    }
    return [
        {**row, "offer": {**row["offer"], "items": chosen[row["customer_id"]]}}
        if row["customer_id"] in chosen
        else row
        for row in rows
    ]


def pictured_items(body: Body, rows: Iterable[Row]) -> set[str]:
    """Return the ids of the items that e-mails may show: of the offers and of picture blocks."""
    messages = (body.message, *body.group_messages.values(), *variant_messages(body))
    blocks = (block for parts in messages for block in parts.blocks)
    ids = {block.item_id for block in blocks if block.item_id}
    return ids | offered_items([row["offer"] for row in rows])


def _shown_items(
    lake: "Lake", settings: Settings, block: Block, ids: Collection[str], now: datetime
) -> Items:
    """Return the block's items by customer, without those that the shop bars."""
    from retention.recommend.catalogue import catalogue
    from retention.recommend.reranking import cached_assortment

    policy, count = load_policy(settings), block.count or USUAL_COUNT
    barred = cached_assortment(catalogue(lake), policy.recommend, policy.offer.margin).barred
    readers: dict[Source, Callable[..., Items]] = {
        "new": partial(new_arrivals, days=policy.offer.new_days),
        "category": partial(best_sellers, category=block.category),
        "viewed": viewed_items,
        "bought": bought_items,
    }
    candidates = readers[block.source](lake, ids, now, SPARE * count)
    return {
        customer_id: [item for item in items if item.item_id not in barred][:count]
        for customer_id, items in candidates.items()
    }


def viewed_items(
    lake: "Lake", ids: Collection[str], as_of: datetime, k: int
) -> dict[str, list[ListedItem]]:
    """Return what customers looked at and did not buy since, the latest first."""
    events = _item_events(lake, ids, as_of)
    seen = events.group_by("customer_id", "item_id").aggregate(
        last=events.occurred_at.max(where=events.event_type == "view"),
        bought=events.occurred_at.max(where=events.event_type == "purchase"),
    )
    is_open = seen.bought.isnull() | (seen.bought < seen["last"])
    items = sellable(lake, seen.filter(seen["last"].notnull() & is_open)).execute()
    order = ["customer_id", "last", "item_id"]
    ordered = items.sort_values(order, ascending=[True, False, True])
    return top_items(lake, ordered.assign(why=""), k, "viewed")


def bought_items(
    lake: "Lake", ids: Collection[str], as_of: datetime, k: int
) -> dict[str, list[ListedItem]]:
    """Return what customers bought on most days, then the latest."""
    events = _item_events(lake, ids, as_of)
    purchases = events.filter(events.event_type == "purchase")
    bought = purchases.group_by("customer_id", "item_id").aggregate(
        days=purchases.occurred_at.date().nunique(), last=purchases.occurred_at.max()
    )
    order = ["customer_id", "days", "last", "item_id"]
    items = sellable(lake, bought).execute()
    ordered = items.sort_values(order, ascending=[True, False, False, True])
    return top_items(lake, ordered.assign(why=""), k, "bought")


def best_sellers(
    lake: "Lake", ids: Collection[str], as_of: datetime, k: int, category: str
) -> dict[str, list[ListedItem]]:
    """Return the items of a category with most buyers in the last year, without own purchases."""
    import pandas as pd

    since = as_of - timedelta(days=SALES_DAYS)
    events = lake.table("events", before=as_of, since=since)
    sold = events.filter(events.event_type == "purchase", events.occurred_at >= naive(since))
    buyers = sold.group_by("item_id").aggregate(buyers=sold.customer_id.nunique())
    items = sellable(lake, buyers).filter(lambda t: t.category == category).execute()
    best = items.sort_values(["buyers", "item_id"], ascending=[False, True]).head(k)
    own = _item_events(lake, ids, as_of).filter(lambda t: t.event_type == "purchase")
    owned = own.filter(own.item_id.isin([*best["item_id"]])).select("customer_id", "item_id")
    pairs = pd.DataFrame({"customer_id": sorted(set(ids))}).merge(best, how="cross")
    pairs = pairs.merge(owned.distinct().execute(), how="left", indicator=True)
    candidates = pairs[pairs["_merge"] == "left_only"].drop(columns="_merge")
    return top_items(lake, candidates.assign(why=""), k, "category")


def _item_events(lake: "Lake", ids: Collection[str], as_of: datetime) -> Any:
    events = events_of(lake.table("events", before=as_of), ids)
    return events.filter(events.item_id.notnull())
