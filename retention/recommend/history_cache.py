"""Cache histories and buyer counts in a worker.

The cache serves moments after the lake's watermark until the lake changes. The first request for a
lake state reads the lake. The second one loads all histories. Replays of an earlier moment and very
large shops always read the lake.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from retention.lake.coverage import time_range
from retention.lake.storage.delta_store import data_state
from retention.recommend.history import DAY, History, buyers, read, shift_of
from retention.recommend.matrices import find_sorted, spans

if TYPE_CHECKING:
    from retention.lake import Lake

MAX_EVENTS = 10_000_000  # about 500 MB
REQUESTS_BEFORE_CACHING = 1


@dataclass
class CachedHistory:
    """Hold one lake state's history and buyer counts. Days have one clock shift."""

    key: tuple[Any, ...]
    requests: int = 0
    history: History | None = None
    offsets: np.ndarray | None = None
    buyers: dict[Any, dict[str, int]] | None = None


_CACHE: list[CachedHistory] = []  # holds the last lake state


def cached_histories(lake: "Lake", as_of: datetime, customer_ids: Sequence[str]) -> History:
    """Return histories, from the cache if possible."""
    cached = _cached(lake, as_of)
    if cached is None:
        return read(lake, as_of, customer_ids)
    if cached.history is None:
        cached.requests += 1
        if cached.requests <= REQUESTS_BEFORE_CACHING or _event_count(lake) > MAX_EVENTS:
            return read(lake, as_of, customer_ids)
        cached.history = read(lake, as_of)
        cached.offsets = row_offsets(cached.history)
    return select_customers(cached.history, customer_ids, cached.offsets)


def row_offsets(history: History) -> np.ndarray:
    """Return the offsets of each customer's lines."""
    return np.searchsorted(
        history.customer, np.arange(len(history.customers) + 1, dtype=history.customer.dtype)
    )


def select_customers(
    history: History, customer_ids: Sequence[str], offsets: np.ndarray | None = None
) -> History:
    """Cut a history down to some customers. The result is as if only theirs had been read."""
    offsets = row_offsets(history) if offsets is None else offsets
    wanted = np.array(sorted(set(customer_ids)), dtype=object)
    place, is_known = find_sorted(history.customers, wanted)
    rows = place[is_known]
    count, lines = spans(offsets[rows], offsets[rows + 1])
    items, item = np.unique(history.item[lines], return_inverse=True)
    return replace(
        history.where(lines),
        customers=history.customers[rows],
        items=history.items[items],
        customer=np.repeat(np.arange(len(rows), dtype=np.int32), count),
        item=item.astype(np.int32),
    )


def buyer_counts(lake: "Lake", as_of: datetime, days: int | None = None) -> dict[str, int]:
    """Count each item's buyers before a moment.

    `days`: count from the shop's midnight this many days before ``as_of``. Default: all time.
    """
    seconds = as_of.timestamp() + shift_of(lake.zone, as_of)
    day = seconds // DAY
    span = None if days is None else timedelta(seconds=seconds - (day - days) * DAY)
    cached = _cached(lake, as_of)
    if cached is None:
        return buyers(lake, as_of, span)
    cached.buyers = {} if cached.buyers is None else cached.buyers
    key = None if days is None else (day, days)
    if key not in cached.buyers:
        cached.buyers[key] = buyers(lake, as_of, span)
    return cached.buyers[key]


def _cached(lake: "Lake", as_of: datetime) -> CachedHistory | None:
    """Return the cache entry of the lake's state. None for a moment before its watermark."""
    state = data_state(lake)
    if not time_range(lake).ends_before(as_of):
        return None
    key = (*state, shift_of(lake.zone, as_of))
    if not _CACHE or _CACHE[0].key != key:
        _CACHE[:] = [CachedHistory(key)]
    return _CACHE[0]


def _event_count(lake: "Lake") -> int:
    return int(lake.table("events").count().execute())
