"""Limit the rate of requests."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

from slack_bolt import BoltContext, BoltResponse

from bot.http.requests import Reply, error_reply
from retention.errors import TooManyRequests
from retention.text import gettext

REQUESTS, SECONDS = 30, 10  # of one person
WORKSPACE_REQUESTS = 3_000  # of all people of a workspace in the same time


class TokenBuckets:
    """Token buckets in memory, one per key.

    Thread-safe and bounded in size.

    `seconds`: time in which an empty bucket fills up.
    `max_keys`: largest number of buckets. The least recently used bucket is dropped first and
    starts full when its key returns.
    `now`: monotonic time in seconds.
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
        # Number of tokens and the time of that count, by key.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    @property
    def size(self) -> int:
        """Number of buckets in memory."""
        return len(self._buckets)

    def take(self, key: str) -> bool:
        """Spend one token. Return False if there is none."""
        with self._lock:
            tokens = self._tokens(key)
            if tokens < 1:
                return False
            self._store(key, tokens - 1)
            return True

    def spend(self, key: str) -> None:
        """Spend one token even if there is none. Refill pays the debt first."""
        with self._lock:
            self._store(key, self._tokens(key) - 1)

    def wait_seconds(self, key: str) -> int:
        """Return the whole seconds until there is a token."""
        with self._lock:
            missing = 1 - self._tokens(key)
        return math.ceil(missing / self._rate) if missing > 0 else 0

    def refusal(self, key: str) -> Reply | None:
        """Spend one token of a caller, or return the answer that there is none."""
        if self.take(key):
            return None
        wait = max(self.wait_seconds(key), 1)
        text = gettext("too many calls; send this again in {seconds} s").format(seconds=wait)
        return error_reply(429, text, {"Retry-After": str(wait)})

    def _tokens(self, key: str) -> float:
        now = self._now()
        tokens, since = self._buckets.get(key, (self._capacity, now))
        return min(self._capacity, tokens + (now - since) * self._rate)

    def _store(self, key: str, tokens: float) -> None:
        self._buckets[key] = tokens, self._now()
        self._buckets.move_to_end(key)
        while len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)


class RequestLimit:
    """Bolt middleware that limits requests per person and per workspace.

    Commands, clicks and modals count. Bolt verifies the signature first, so a stranger cannot
    spend another person's tokens. Events pass, because Slack sends them and they have no place
    for an answer.
    """

    def __init__(self, buckets: TokenBuckets | None = None) -> None:
        self._buckets = TokenBuckets(REQUESTS, SECONDS) if buckets is None else buckets
        self._workspaces = TokenBuckets(WORKSPACE_REQUESTS, SECONDS)

    def __call__(
        self, body: dict[str, Any], context: BoltContext, next: Callable[[], BoltResponse]
    ) -> BoltResponse:
        """Pass the request on or refuse it."""
        if not context.user_id or "event" in body:
            return next()
        if not self._buckets.take(context.user_id):
            text = gettext(
                "One person can send at most {requests} commands and clicks in {seconds} "
                "seconds, so wait {seconds} seconds and try again."
            )
            raise TooManyRequests(text.format(requests=REQUESTS, seconds=SECONDS))
        if not self._workspaces.take(context.team_id or ""):
            text = gettext(
                "Your workspace can send at most {requests:,} commands and clicks in {seconds} "
                "seconds, so wait {seconds} seconds and try again."
            )
            raise TooManyRequests(text.format(requests=WORKSPACE_REQUESTS, seconds=SECONDS))
        return next()
