"""One HTTP request and its reply."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


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
