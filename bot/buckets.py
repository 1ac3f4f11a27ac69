"""Token buckets in memory: how often somebody may do something."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock


class TokenBuckets:
    """One bucket of tokens for each key; thread-safe and bounded in size.

    Parameters
    ----------
    capacity : int
        Tokens of a full bucket.
    seconds : float
        Time in which an empty bucket becomes full.
    max_keys : int
        Buckets kept at most. The one that was spent from longest ago is dropped first, and is full when it comes back.
    now : callable
        Monotonic time in seconds.
    """

    def __init__(
        self,
        capacity: int,
        seconds: float,
        *,
        max_keys: int = 10_000,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = float(capacity)
        self._rate = capacity / seconds
        self._max_keys = max_keys
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = (
            OrderedDict()
        )  # tokens, and when that was
        self._lock = Lock()

    @property
    def size(self) -> int:
        """Number of buckets in memory."""
        return len(self._buckets)

    def take(self, key: str) -> bool:
        """Spend one token, if there is one."""
        with self._lock:
            tokens = self._tokens(key)
            if tokens < 1:
                return False
            self._store(key, tokens - 1)
            return True

    def spend(self, key: str) -> None:
        """Spend one token whether or not there is one; a debt is refilled first."""
        with self._lock:
            self._store(key, self._tokens(key) - 1)

    def wait_seconds(self, key: str) -> int:
        """Return the whole seconds until there is a token; 0 where there is one now."""
        with self._lock:
            missing = 1 - self._tokens(key)
        return math.ceil(missing / self._rate) if missing > 0 else 0

    def _tokens(self, key: str) -> float:
        now = self._now()
        tokens, since = self._buckets.get(key, (self._capacity, now))
        return min(self._capacity, tokens + (now - since) * self._rate)

    def _store(self, key: str, tokens: float) -> None:
        self._buckets[key] = tokens, self._now()
        self._buckets.move_to_end(key)
        while len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
