"""What a warm worker keeps ready for the next question: everybody's history in memory, and how many bought each item.

Kept as long as nobody writes to the lake, and only for whoever looks from after the last thing it knows: then one history
serves every moment. The first question about a lake's state is answered from the lake itself; with the second the
histories are read as a whole, for a state that is asked about twice will be asked about again. Replays (an earlier
moment) and very large shops read the lake each time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.lake.coverage import time_range
from retention.recommend.history import _LINES, DAY, History, read, shift_of
from retention.recommend.preferences import buyers

if TYPE_CHECKING:
    from retention.lake import Lake

MOST_EVENTS = 10_000_000  # about 500 MB
ASKED_BEFORE = 1  # times until the histories are kept


@dataclass
class Kept:
    """One state of a lake, its days by one offset of the shop's clock."""

    key: tuple[Any, ...]
    asked: int = 0
    history: History | None = None
    ends: np.ndarray | None = None
    counts: dict[Any, dict[str, int]] | None = None


_KEPT: list[Kept] = []  # the state last asked about


def histories(lake: "Lake", as_of: datetime, customer_ids: Sequence[str]) -> History:
    """As `read`, for these customers: from memory where it is kept."""
    kept = _kept(lake, as_of)
    if kept is None:
        return read(lake, as_of, customer_ids)
    if kept.history is None:
        kept.asked += 1
        if kept.asked <= ASKED_BEFORE or _events(lake) > MOST_EVENTS:
            return read(lake, as_of, customer_ids)
        kept.history = read(lake, as_of)
        kept.ends = line_ends(kept.history)
    return of(kept.history, customer_ids, kept.ends)


def line_ends(history: History) -> np.ndarray:
    """Where each customer's lines begin, and where the last one's end."""
    return np.searchsorted(
        history.customer, np.arange(len(history.customers) + 1, dtype=history.customer.dtype)
    )


def of(history: History, customer_ids: Sequence[str], ends: np.ndarray | None = None) -> History:
    """A history of some customers, as if only theirs had been read; ``ends`` as `line_ends` gives them."""
    ends = line_ends(history) if ends is None else ends
    wanted = np.array(sorted(set(customer_ids)), dtype=object)
    place = np.minimum(
        np.searchsorted(history.customers, wanted), max(len(history.customers) - 1, 0)
    )
    found = (
        history.customers[place] == wanted
        if len(history.customers)
        else np.zeros(len(wanted), dtype=bool)
    )
    rows = place[found]
    begin, end = ends[rows], ends[rows + 1]
    count = end - begin
    lines = np.repeat(end - np.cumsum(count), count) + np.arange(int(count.sum()))
    items, item = np.unique(history.item[lines], return_inverse=True)
    cut = {name: getattr(history, name)[lines] for name in _LINES}
    cut |= {
        "customer": np.repeat(np.arange(len(rows), dtype=np.int32), count),
        "item": item.astype(np.int32),
    }
    return replace(history, customers=history.customers[rows], items=history.items[items], **cut)


def bought(lake: "Lake", as_of: datetime, days: int | None = None) -> dict[str, int]:
    """Customers who bought each item before a moment: ever, or since the midnight ``days`` days before it."""
    seconds = as_of.timestamp() + shift_of(lake.zone, as_of)
    day = seconds // DAY
    whole = None if days is None else timedelta(seconds=seconds - (day - days) * DAY)
    kept = _kept(lake, as_of)
    if kept is None:
        return buyers(lake, as_of, whole)
    kept.counts = {} if kept.counts is None else kept.counts
    key = None if days is None else (day, days)
    if key not in kept.counts:
        kept.counts[key] = buyers(lake, as_of, whole)
    return kept.counts[key]


def _kept(lake: "Lake", as_of: datetime) -> Kept | None:
    """What is kept of the lake as it is; None where it must not serve."""
    known = time_range(lake)
    if not known.ends_before(as_of):
        return None
    key = (*known.state, shift_of(lake.zone, as_of))
    if not _KEPT or _KEPT[0].key != key:
        _KEPT[:] = [Kept(key)]
    return _KEPT[0]


def _events(lake: "Lake") -> int:
    return int(lake.table("events").count().execute())
