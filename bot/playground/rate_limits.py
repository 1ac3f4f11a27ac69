"""Apply Slack's rate limits and faults."""

import time
from collections import defaultdict, deque
from collections.abc import Callable

# A channel takes a message a second, and short bursts. Slack publishes no number for a burst.
POST_SPACING, POST_BURST = 1.0, 4
_TOLERANCE = 0.1  # seconds by which network delays may shorten the spacing
TIERS = {1: 1, 2: 20, 3: 50, 4: 100}  # calls a minute of a method
METHOD_TIERS = {
    "chat.update": 3,
    "chat.delete": 3,
    "chat.postEphemeral": 4,
    "conversations.info": 3,
    "conversations.history": 3,
    "conversations.replies": 3,
    "conversations.open": 3,
    "conversations.list": 2,
    "conversations.members": 4,
    "conversations.join": 3,
    "views.open": 4,
    "views.update": 4,
    "views.push": 4,
    "views.publish": 4,
    "files.info": 4,
    "files.getUploadURLExternal": 4,
    "files.completeUploadExternal": 4,
    "users.info": 4,
    "users.list": 2,
    "apps.connections.open": 1,
}
FAULTS = "rate_limited", "server_error", "timeout_after_accept", "duplicate_delivery", "history_lag"
FAULTY_METHODS = frozenset(
    {
        "chat.postMessage",
        "chat.update",
        "chat.postEphemeral",
        "files.getUploadURLExternal",
        "files.completeUploadExternal",
    }
)


class RateLimiter:
    """Return the wait before a call.

    Only allowed calls count.

    `clock`: monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, strict: bool = True) -> None:
        self._clock, self.strict = clock, strict
        self._used_until: dict[str, float] = {}  # the end of a channel's used allowance
        self._calls: dict[str, deque[float]] = defaultdict(deque)

    def post(self, channel: str) -> int:
        """Return the wait before another message. The unit is seconds; 0 means no wait."""
        now = self._clock()
        used_until = max(self._used_until.get(channel, now), now)
        if self.strict and used_until - now > (POST_BURST - 1) * POST_SPACING + _TOLERANCE:
            return 1
        self._used_until[channel] = used_until + POST_SPACING
        return 0

    def call(self, method: str) -> int:
        """Return the wait before another call. The unit is seconds; 0 means no wait."""
        tier = METHOD_TIERS.get(method)
        if tier is None or not self.strict:
            return 0
        now, calls = self._clock(), self._calls[method]
        while calls and now - calls[0] >= 60:
            calls.popleft()
        if len(calls) >= max(TIERS[tier], 10):  # an app may reconnect a few times even in tier 1
            return max(1, round(60 - (now - calls[0])))
        calls.append(now)
        return 0


class Faults:
    """Counted faults. Each kind affects the next N matching calls, then stops."""

    def __init__(self) -> None:
        self.left: dict[str, int] = dict.fromkeys(FAULTS, 0)
        self.method: dict[str, str | None] = {}
        self.struck: dict[str, int] = dict.fromkeys(FAULTS, 0)

    def set(self, kind: str, calls: int, method: str | None = None) -> None:
        """Switch a fault on for the next calls."""
        self.left[kind], self.method[kind] = calls, method

    def strikes(self, kind: str, method: str | None = None) -> bool:
        """Return and count whether a fault strikes."""
        faulty_method = self.method.get(kind)
        applies = (
            method is None
            or method == faulty_method
            or (faulty_method is None and method in FAULTY_METHODS)
        )
        if not applies or self.left[kind] <= 0:
            return False
        self.left[kind] -= 1
        self.struck[kind] += 1
        return True
