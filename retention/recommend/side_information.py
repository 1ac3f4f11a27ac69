"""Read side information for recommendation models."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.history import PURCHASE, pairs, read
from retention.recommend.matrices import positions
from retention.recommend.models import PurchaseDays, Segments, SideInformation
from retention.recommend.ranking.features import Interactions, preference_matrix

if TYPE_CHECKING:
    from retention.lake import Lake

REGION_ATTRIBUTES = (
    "region",
    "state",
    "province",
    "county",
    "country",
    "postcode_area",
    "city",
)
MAX_FILTER_IDS = 1_000  # above, reading all customers is faster than filtering by id


def read_side_information(
    lake: "Lake", interactions: Interactions, texts: Sequence[str], uses: Sequence[str]
) -> SideInformation:
    """Read side information about customers and items.

    Rows are its customers, columns its items.

    Parameters
    ----------
    lake : Lake
    interactions : Interactions
        Nothing after its moment is read.
    texts : sequence of str
        One per item.
    looks_at : sequence of str
        Names of the fields of `SideInformation` to read.

    Returns
    -------
    SideInformation
    """
    at = interactions.history.moment(interactions.at)
    readers: dict[str, Callable[[], Any]] = {
        "days": lambda: _days(interactions),
        "texts": lambda: texts,
        "segments": lambda: _segments(lake, at, interactions.history.customers),
        "friends": lambda: liked_by_friends(
            lake, at, interactions.history.customers, interactions.item_stats.items
        ),
    }
    return SideInformation(**{name: readers[name]() for name in uses})


def _days(interactions: Interactions) -> PurchaseDays:
    place = interactions.place[interactions.history.item]
    is_chosen = (interactions.history.bought > 0) & (place >= 0)
    age = np.maximum(interactions.at - interactions.history.day[is_chosen], 0.0)
    return PurchaseDays(
        interactions.history.customer[is_chosen].astype(np.int64), place[is_chosen], age
    )


def _segments(lake: "Lake", at: datetime, customers: np.ndarray) -> Segments:
    frame = segments(lake, at, customers)
    labels = np.array(sorted(frame["label"].unique()), dtype=str)
    row, column = positions(customers, frame["customer_id"]), positions(labels, frame["label"])
    is_known = row >= 0
    ones = np.ones(int(is_known.sum()), dtype=np.float32)
    member = csr_matrix(
        (ones, (row[is_known], column[is_known])), shape=(len(customers), len(labels))
    )
    return Segments(labels, member)


def segments(lake: "Lake", at: datetime, customers: Sequence[str] | Any) -> Any:
    """Return customers' segments known before a moment.

    Parameters
    ----------
    lake : Lake
    at : datetime
    customers : sequence of str

    Returns
    -------
    DataFrame
        ``customer_id`` and ``label``: the channel of the first purchase (``channel:web``), the
        region in the customer's attributes (``region:north``) and the categories in the first
        basket (``first:tea``). Unknown customers have no row. For long lists the frame may contain
        other customers.
    """
    import pandas as pd

    wanted = [str(customer) for customer in customers]
    events, items, people = (
        lake.table("events", before=at),
        lake.table("items"),
        lake.table("customers"),
    )
    purchases = events.filter(events.event_type == PURCHASE, events.customer_id.notnull())
    if len(wanted) <= MAX_FILTER_IDS:
        purchases, people = (
            purchases.filter(purchases.customer_id.isin(wanted)),
            people.filter(people.customer_id.isin(wanted)),
        )
    first = purchases.group_by("customer_id").aggregate(began=purchases.occurred_at.min())
    opening = purchases.inner_join(first, ["customer_id", ("occurred_at", "began")])
    kinds = items.select("item_id", kind=items.category)
    basket = opening.left_join(kinds, "item_id").select("customer_id", "channel", "kind").distinct()
    baskets: Any = basket.execute()
    attributes = people.attributes.try_cast("json")
    region = attributes[REGION_ATTRIBUTES[0]].cast("string")
    for name in REGION_ATTRIBUTES[1:]:
        region = region.coalesce(attributes[name].cast("string"))
    regions: Any = (
        people.select("customer_id", label=region)
        .filter(lambda rows: rows.label.notnull())
        .execute()
    )
    parts = [
        _labelled(baskets["customer_id"], "channel:", baskets["channel"]),
        _labelled(baskets["customer_id"], "first:", baskets["kind"]),
        _labelled(regions["customer_id"], "region:", regions["label"].astype("str").str.strip('"')),
    ]
    return pd.concat(parts, ignore_index=True).drop_duplicates()


def _labelled(customer: Any, prefix: str, value: Any) -> Any:
    import pandas as pd

    rows = pd.DataFrame({"customer_id": customer, "label": value})
    rows = rows[rows["label"].notna() & (rows["label"] != "")]
    return rows.assign(label=prefix + rows["label"].astype("str"))


SYMMETRIC_KINDS = ("refer", "friend")


def friends(lake: "Lake", at: datetime, customers: Any) -> Any:
    """Return the people each customer is related to.

    Those they follow, referred, were referred by or are friends with.

    Parameters
    ----------
    lake : Lake
    at : datetime
        Only relations known before this moment.
    customers : sequence of str

    Returns
    -------
    DataFrame
        Distinct pairs ``customer_id`` (of ``customers``) and ``other_id``; never the customer.
    """
    import ibis

    from retention.lake.lake import naive

    relations = lake.table("relations")
    relations = relations.filter(
        relations.occurred_at.isnull() | (relations.occurred_at < naive(at))
    )
    reverse = relations.filter(relations.kind.isin(SYMMETRIC_KINDS))
    reverse = reverse.select(customer_id=reverse.other_id, other_id=reverse.customer_id)
    pairs = ibis.union(relations.select("customer_id", "other_id"), reverse, distinct=True)
    wanted = [str(customer) for customer in customers]
    pairs = pairs.filter(pairs.customer_id.isin(wanted), pairs.customer_id != pairs.other_id)
    return pairs.order_by("customer_id", "other_id").execute()


def liked_by_friends(
    lake: "Lake", at: datetime, customers: np.ndarray, items: np.ndarray
) -> csr_matrix:
    """Sum friends' preferences, as (customers × items).

    Parameters
    ----------
    lake : Lake
    at : datetime
    customers, items : ndarray of str

    Returns
    -------
    csr_matrix
    """
    shape = (len(customers), len(items))
    relations = friends(lake, at, customers)
    if not len(relations):
        return csr_matrix(shape, dtype=np.float32)
    history = read(lake, at, sorted(relations["other_id"].unique()))
    place = positions(items, history.items)
    preferences = preference_matrix(
        pairs(history, history.at(at)), place, (len(history.customers), shape[1])
    )
    row = positions(customers, relations["customer_id"])
    other = positions(history.customers, relations["other_id"])
    is_known = (row >= 0) & (other >= 0)
    ones = np.ones(int(is_known.sum()), dtype=np.float32)
    return csr_matrix(
        csr_matrix((ones, (row[is_known], other[is_known])), shape=(shape[0], preferences.shape[0]))
        @ preferences
    )
