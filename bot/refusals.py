"""Count and log refused requests.

Only the first few of each minute are logged. Strangers can send such requests. So the log holds
only the reason and the route, no body and no headers.
"""

import logging
import time
from collections import Counter
from threading import Lock

from bot import metrics

log = logging.getLogger("retention.bot")

LOGGED_PER_MINUTE = 5  # for each reason
_MINUTE = 60.0

UNVERIFIED = "unverified"  # no valid signature of Slack
MALFORMED = "malformed"  # signed, but not a request that Slack sends
FOREIGN = "foreign_workspace"  # signed, from another workspace or a Slack Connect guest
TOO_LARGE = "too_large"
OVERLOADED = "overloaded"


class Refusals:
    """Refused requests of this process, by reason."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._since = time.monotonic()
        self._minute: Counter[str] = Counter()

    def note(self, reason: str, path: str) -> None:
        """Count one refused request.

        Log it if it is among the first of its minute.

        Parameters
        ----------
        reason : str
            One of the constants of this module.
        path : str
            The route, never the path of the request.
        """
        metrics.refused(reason)
        with self._lock:
            now = time.monotonic()
            unlogged = {}
            if now - self._since >= _MINUTE:
                unlogged = {name: count - LOGGED_PER_MINUTE for name, count in self._minute.items()}
                self._since, self._minute = now, Counter()
            self._minute[reason] += 1
            is_logged = self._minute[reason] <= LOGGED_PER_MINUTE
        for name, count in unlogged.items():
            if count > 0:
                log.warning("refused %d more requests in an earlier minute: %s", count, name)
        if is_logged:
            log.warning("refused a request to %s: %s", path, reason)


_REFUSALS = Refusals()
note = _REFUSALS.note  # of this process
