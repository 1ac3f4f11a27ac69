"""Send requests to the bot's ASGI application in this process."""

import asyncio
from dataclasses import dataclass
from typing import Any

from bot.http.server import Gateway


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes


async def send(gateway: Gateway, method: str, path: str, **request: Any) -> Answer:
    """Send one request: ``query``, ``headers`` and ``body`` are bytes or pairs of bytes."""
    body = request.get("body", b"")
    headers = [*request.get("headers", ()), (b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    scope |= {"query_string": request.get("query", b""), "client": ("203.0.113.7", 4711)}
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def answer(message: dict[str, Any]) -> None:
        messages.append(message)

    await gateway(scope, receive, answer)
    start, content = messages
    named = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], named, content["body"])


def ask(gateway: Gateway, method: str, path: str, **request: Any) -> Answer:
    """Send one request, outside of an event loop."""
    return asyncio.run(send(gateway, method, path, **request))
