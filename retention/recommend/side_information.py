"""Read side information for recommendation models."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from retention.lake.relations import relations
from retention.recommend.history import PURCHASE, pairs, read
from retention.recommend.matrices import ones_at, positions
from retention.recommend.models.base import PurchaseDays, Segments, SideInformation
from retention.recommend.ranking.features import Interactions, preference_matrix

if TYPE_CHECKING:
    from retention.lake import Lake

REGION_ATTRIBUTES = ("region", "state", "province", "county", "country", "postcode_area", "city")
MAX_FILTER_IDS = 1_000  # above, reading all customers is faster than filtering by id


def read_side_information(
    lake: "Lake", interactions: Interactions, texts: Sequence[str], uses: Sequence[str]
) -> SideInformation:
    """Read side information about customers and items.

    Rows are its customers, columns its items.

    `interactions`: nothing after its moment is read.
    `uses`: names of the fields of `SideInformation` to read.
    """
    at, customers = interactions.history.moment(interactions.at), interactions.history.customers
    items = interactions.item_stats.items
    readers: dict[str, Callable[[], Any]] = {
        "days": lambda: _days(interactions),
        "texts": lambda: texts,
        "segments": lambda: _segments(lake, at, customers),
        "friends": lambda: liked_by_friends(lake, at, customers, items),
    }
    return SideInformation(**{name: readers[name]() for name in uses})


def _days(interactions: Interactions) -> PurchaseDays:
    history = interactions.history
    place = interactions.place[history.item]
    is_chosen = (history.bought > 0) & (place >= 0)
    age = np.maximum(interactions.at - history.day[is_chosen], 0.0)
    return PurchaseDays(history.customer[is_chosen].astype(np.int64), place[is_chosen], age)


def _segments(lake: "Lake", at: datetime, customers: np.ndarray) -> Segments:
    frame = segments(lake, at, customers)
    labels = np.array(sorted(frame["label"].unique()), dtype=str)
    row, column = positions(customers, frame["customer_id"]), positions(labels, frame["label"])
    return Segments(labels, ones_at(row, column, (len(customers), len(labels))))


def segments(lake: "Lake", at: datetime, customers: Sequence[str] | Any) -> Any:
    """Return customers' segments known before a moment.

    Returns: ``customer_id`` and ``label``: the channel of the first purchase (``channel:web``), the
    region in the customer's attributes (``region:north``) and the categories in the first basket
    (``first:tea``). Unknown customers have no row. For long lists the frame may contain other
    customers.
    """
    wanted = [str(customer) for customer in customers]
    items, people = lake.table("items"), lake.table("customers")
    events = lake.table("events", before=at)
    purchases = events.filter(events.event_type == PURCHASE, events.customer_id.notnull())
    if len(wanted) <= MAX_FILTER_IDS:
        purchases = purchases.filter(purchases.customer_id.isin(wanted))
        people = people.filter(people.customer_id.isin(wanted))
    first = purchases.group_by("customer_id").aggregate(began=purchases.occurred_at.min())
    opening = purchases.inner_join(first, ["customer_id", ("occurred_at", "began")])
    kinds = items.select("item_id", kind=items.category)
    basket = opening.left_join(kinds, "item_id").select("customer_id", "channel", "kind").distinct()
    baskets: Any = basket.execute()
    attributes = people.attributes.try_cast("json")
    region = ibis.coalesce(*(attributes[name].cast("string") for name in REGION_ATTRIBUTES))
    labelled = people.select("customer_id", label=region)
    regions: Any = labelled.filter(labelled.label.notnull()).execute()
    parts = [
        _labelled(baskets["customer_id"], "channel:", baskets["channel"]),
        _labelled(baskets["customer_id"], "first:", baskets["kind"]),
        _labelled(regions["customer_id"], "region:", regions["label"].astype("str").str.strip('"')),
    ]
    return pd.concat(parts, ignore_index=True).drop_duplicates()


def _labelled(customer: Any, prefix: str, value: Any) -> Any:
    rows = pd.DataFrame({"customer_id": customer, "label": value})
    rows = rows[rows["label"].notna() & (rows["label"] != "")]
    return rows.assign(label=prefix + rows["label"].astype("str"))


def friends(lake: "Lake", at: datetime, customers: Any) -> Any:
    """Return the people each customer is related to.

    Those they follow, referred, were referred by, are friends or live with, or exchanged gifts
    with (`retention.lake.relations`).

    `at`: only relations known before this moment.
    Returns: distinct pairs ``customer_id`` (of ``customers``) and ``other_id``; never the customer.
    """
    pairs = relations(lake, at)[["customer_id", "other_id"]].drop_duplicates()
    wanted = {str(customer) for customer in customers}
    return pairs[pairs["customer_id"].isin(wanted)].reset_index(drop=True)


def liked_by_friends(
    lake: "Lake", at: datetime, customers: np.ndarray, items: np.ndarray
) -> csr_matrix:
    """Sum friends' preferences, as (customers × items)."""
    shape = (len(customers), len(items))
    known = friends(lake, at, customers)
    if not len(known):
        return csr_matrix(shape, dtype=np.float32)
    history = read(lake, at, sorted(known["other_id"].unique()))
    place = positions(items, history.items)
    people = history.customers
    preferences = preference_matrix(pairs(history, history.at(at)), place, (len(people), shape[1]))
    row = positions(customers, known["customer_id"])
    other = positions(people, known["other_id"])
    return csr_matrix(ones_at(row, other, (shape[0], len(people))) @ preferences)
