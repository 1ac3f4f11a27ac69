"""One HTTP request and its reply, and the count of refused ones."""

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

from bot.http import metrics

log = logging.getLogger("retention.bot")

LOGGED_PER_MINUTE = 5  # for each reason
_MINUTE = 60.0

UNVERIFIED = "unverified"  # no valid signature of Slack
MALFORMED = "malformed"  # signed, but not a request that Slack sends
FOREIGN = "foreign_workspace"  # signed, from another workspace or a Slack Connect guest
TOO_LARGE = "too_large"
OVERLOADED = "overloaded"
SHED = "shed"  # a command that was answered with a sentence: there are too many


@dataclass(frozen=True, slots=True)
class Request:
    """One complete HTTP request. Header names are in lower case. ``address`` is the client's."""

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    address: str = ""

    def header(self, name: str) -> str:
        """Return a header; empty if it is missing."""
        return self.headers.get(name, "")


class Reply(NamedTuple):
    """Status, body and headers of an answer."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]

    def adding(self, headers: Mapping[str, str]) -> "Reply":
        """Return the reply with further headers."""
        return self._replace(headers=[*self.headers, *headers.items()])


def json_reply(
    status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Reply:
    """Build a JSON answer."""
    json_headers = [("Content-Type", "application/json"), *(headers or {}).items()]
    return Reply(status, json.dumps(body).encode(), json_headers)


def error_reply(status: int, error: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Build the JSON answer to a refused or failed request."""
    return json_reply(status, {"error": error}, headers)


class Refusals:
    """Refused requests of this process, by reason."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._since = time.monotonic()
        self._minute: Counter[str] = Counter()

    def note(self, reason: str, path: str) -> None:
        """Count one refused request.

        Log it if it is among the first of its minute.

        `path`: the route, never the path of the request.
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


note = Refusals().note  # of this process


def noted(reason: str, path: str, reply: Reply) -> Reply:
    """Count a refused request, and return its answer."""
    note(reason, path)
    return reply
