"""Who follows or brought whom, and what those people have shown about items."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from retention.recommend.history import pairs, read
from retention.recommend.id_index import positions
from retention.recommend.ranking.features import preference_matrix

if TYPE_CHECKING:
    from retention.lake import Lake

BOTH_WAYS = ("refer", "friend")  # who was brought by somebody knows them, and is known by them


def friends(lake: "Lake", at: datetime, customers: Any) -> Any:
    """The people that each customer follows, brought, was brought by or is a friend of, by what was known before ``at``.

    Returns
    -------
    DataFrame
        ``customer_id`` (of ``customers``) and ``other_id``; each pair once, nobody with themselves.
    """
    import ibis

    from retention.lake.lake import naive

    known = lake.table("relations")
    known = known.filter(known.occurred_at.isnull() | (known.occurred_at < naive(at)))
    back = known.filter(known.kind.isin(BOTH_WAYS))
    back = back.select(customer_id=back.other_id, other_id=back.customer_id)
    pairs_ = ibis.union(known.select("customer_id", "other_id"), back, distinct=True)
    wanted = [str(one) for one in customers]
    pairs_ = pairs_.filter(pairs_.customer_id.isin(wanted), pairs_.customer_id != pairs_.other_id)
    return pairs_.order_by("customer_id", "other_id").execute()


def liked_by_friends(
    lake: "Lake", at: datetime, customers: np.ndarray, items: np.ndarray
) -> csr_matrix:
    """(customers × items): Σ over friends of what they have shown about each item before a moment."""
    shape = (len(customers), len(items))
    known = friends(lake, at, customers)
    if not len(known):
        return csr_matrix(shape, dtype=np.float32)
    theirs = read(lake, at, sorted(known["other_id"].unique()))
    place = positions(items, theirs.items)
    liked = preference_matrix(
        pairs(theirs, theirs.at(at)), place, (len(theirs.customers), shape[1])
    )
    row = positions(customers, known["customer_id"])
    other = positions(theirs.customers, known["other_id"])
    seen = (row >= 0) & (other >= 0)
    ones = np.ones(int(seen.sum()), dtype=np.float32)
    return csr_matrix(
        csr_matrix((ones, (row[seen], other[seen])), shape=(shape[0], liked.shape[0])) @ liked
    )
