"""What a model may look at beside the matrix of preferences, read for the customers and items of one scene."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.history import PURCHASE
from retention.recommend.id_index import positions
from retention.recommend.models import PurchaseDays, Segments, SideInformation
from retention.recommend.ranking.features import Scene
from retention.recommend.relations import liked_by_friends

if TYPE_CHECKING:
    from retention.lake import Lake

REGIONS = (
    "region",
    "state",
    "province",
    "county",
    "country",
    "postcode_area",
    "city",
)  # of a customer's attributes
FEW = 1_000  # customers


def beside(
    lake: "Lake", scene: Scene, texts: Sequence[str], uses: Sequence[str]
) -> SideInformation:
    """What is known at the moment of a scene, of its customers (rows) and its shelf (columns).

    Parameters
    ----------
    lake : Lake
    scene : Scene
    texts : sequence of str
        Of the items of the shelf.
    looks_at : sequence of str
        Names of `SideInformation`; what the model does not look at is not read.
    """
    at = scene.history.moment(scene.at)
    readers: dict[str, Callable[[], Any]] = {
        "days": lambda: _days(scene),
        "texts": lambda: texts,
        "segments": lambda: _segments(lake, at, scene.history.customers),
        "friends": lambda: liked_by_friends(lake, at, scene.history.customers, scene.shelf.items),
    }
    return SideInformation(**{name: readers[name]() for name in uses})


def _days(scene: Scene) -> PurchaseDays:
    place = scene.place[scene.history.item]
    chosen = (scene.history.bought > 0) & (place >= 0)
    age = np.maximum(scene.at - scene.history.day[chosen], 0.0)
    return PurchaseDays(scene.history.customer[chosen].astype(np.int64), place[chosen], age)


def _segments(lake: "Lake", at: datetime, customers: np.ndarray) -> Segments:
    frame = segments(lake, at, customers)
    labels = np.array(sorted(frame["label"].unique()), dtype=str)
    row, column = positions(customers, frame["customer_id"]), positions(labels, frame["label"])
    known = row >= 0
    ones = np.ones(int(known.sum()), dtype=np.float32)
    member = csr_matrix((ones, (row[known], column[known])), shape=(len(customers), len(labels)))
    return Segments(labels, member)


def segments(lake: "Lake", at: datetime, customers: Sequence[str] | Any) -> Any:
    """Which segments customers belong to, by what was known before a moment.

    Returns
    -------
    DataFrame
        ``customer_id`` and ``label``: the channel of the first purchase (``channel:web``), the region that the
        customer's attributes name (``region:north``), and the kinds of item in the first basket (``first:tea``).
        None of them for a customer who is not known; of very many customers those of others may be among them.
    """
    import pandas as pd

    wanted = [str(one) for one in customers]
    events, items, people = (
        lake.table("events", before=at),
        lake.table("items"),
        lake.table("customers"),
    )
    bought = events.filter(events.event_type == PURCHASE, events.customer_id.notnull())
    if len(wanted) <= FEW:  # a longer list of names costs more than reading everybody
        bought, people = (
            bought.filter(bought.customer_id.isin(wanted)),
            people.filter(people.customer_id.isin(wanted)),
        )
    first = bought.group_by("customer_id").aggregate(began=bought.occurred_at.min())
    opening = bought.inner_join(first, ["customer_id", ("occurred_at", "began")])
    kinds = items.select("item_id", kind=items.category)
    basket = opening.left_join(kinds, "item_id").select("customer_id", "channel", "kind").distinct()
    frame: Any = basket.execute()
    said = people.attributes.try_cast("json")
    region = said[REGIONS[0]].cast("string")
    for name in REGIONS[1:]:
        region = region.coalesce(said[name].cast("string"))
    where: Any = (
        people.select("customer_id", label=region)
        .filter(lambda rows: rows.label.notnull())
        .execute()
    )
    parts = [
        _labelled(frame["customer_id"], "channel:", frame["channel"]),
        _labelled(frame["customer_id"], "first:", frame["kind"]),
        _labelled(where["customer_id"], "region:", where["label"].astype("str").str.strip('"')),
    ]
    return pd.concat(parts, ignore_index=True).drop_duplicates()


def _labelled(customer: Any, prefix: str, value: Any) -> Any:
    import pandas as pd

    made = pd.DataFrame({"customer_id": customer, "label": value})
    made = made[made["label"].notna() & (made["label"] != "")]
    return made.assign(label=prefix + made["label"].astype("str"))
