"""Deliver signed requests to the app.

The transport is HTTP, or Socket Mode while a socket is open. The app has three seconds to
acknowledge. Events without acknowledgement are sent again three times; nothing else is.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx2

from bot.playground import seed
from bot.playground.rate_limits import Faults
from bot.playground.workspace import Json

ACK_SECONDS = 3.0
RETRY_DELAYS = (0.0, 60.0, 300.0)
Socket = Any  # a Starlette WebSocket


@dataclass(frozen=True, slots=True)
class Ack:
    """The app's answer. HTTP status (504 too late, 503 unreachable), body, and milliseconds."""

    status: int
    body: Any
    ms: int

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def error(self) -> str | None:
        """The error that Slack shows to the person."""
        if self.ok:
            return None
        return "operation_timeout" if self.status == 504 else "dispatch_failed"

    def as_dict(self) -> Json:
        return {"status": self.status, "ack": self.body, "ms": self.ms}


@dataclass(frozen=True, slots=True)
class _Sending:
    """One request: its kind and payload in Socket Mode, and its body over HTTP."""

    kind: str
    payload: Json
    body: str
    content_type: str = "application/x-www-form-urlencoded"


class Delivery:
    """Sends requests to one app."""

    def __init__(
        self, faults: Faults, request_url: str | None = None, *, secret: str = seed.SIGNING_SECRET
    ) -> None:
        self.faults, self.request_url, self.secret = faults, request_url, secret
        self.sockets: list[Socket] = []
        self.waiting: dict[str, asyncio.Future[Any]] = {}
        self.retry_delays: tuple[float, ...] = RETRY_DELAYS
        # The answer to a command while the app cannot be asked.
        self.excuse: Callable[[], str | None] = lambda: None
        self._client = httpx2.AsyncClient(trust_env=False)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._client.aclose()

    async def command(self, payload: Json) -> Ack:
        """Deliver a slash command."""
        if sentence := self.excuse():
            return Ack(200, {"response_type": "ephemeral", "text": sentence}, 0)
        return await self._twice_if_faulty(_Sending("slash_commands", payload, urlencode(payload)))

    async def interaction(self, payload: Json) -> Ack:
        """Deliver a click, a submission or a closed modal."""
        body = urlencode({"payload": json.dumps(payload)})
        return await self._twice_if_faulty(_Sending("interactive", payload, body))

    async def event(self, event: Json) -> Ack:
        """Deliver an event. Retry in the background after an error."""
        payload = {
            "token": "playground",
            "team_id": seed.TEAM_ID,
            "api_app_id": seed.APP_ID,
            "event": event,
            "type": "event_callback",
            "event_id": f"Ev{secrets.token_hex(5).upper()}",
            "event_time": int(time.time()),
            "event_context": secrets.token_urlsafe(12),
            "authorizations": [{"team_id": seed.TEAM_ID, "user_id": seed.BOT_USER, "is_bot": True}],
        }
        sending = _Sending("events_api", payload, json.dumps(payload), "application/json")
        ack = await self._twice_if_faulty(sending)
        if not ack.ok:
            task = asyncio.get_running_loop().create_task(self._retry(sending, ack))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return ack

    async def _retry(self, sending: _Sending, ack: Ack) -> None:
        for number, delay in enumerate(self.retry_delays, start=1):
            await asyncio.sleep(delay)
            reason = "http_timeout" if ack.status == 504 else "http_error"
            ack = await self._send(sending, retry=(number, reason))
            if ack.ok:
                return

    async def _twice_if_faulty(self, sending: _Sending) -> Ack:
        ack = await self._send(sending)
        if self.faults.strikes("duplicate_delivery"):
            await self._send(sending, retry=(1, "http_timeout"))
        return ack

    async def _send(self, sending: _Sending, retry: tuple[int, str] | None = None) -> Ack:
        started, send = time.monotonic(), self._by_socket if self.sockets else self._by_http
        try:
            status, answer = await send(sending, retry)
        except (TimeoutError, httpx2.TimeoutException):
            status, answer = 504, None
        except (httpx2.HTTPError, RuntimeError, OSError) as error:
            status, answer = 503, str(error)
        return Ack(status, answer, round(1000 * (time.monotonic() - started)))

    async def _by_http(self, sending: _Sending, retry: tuple[int, str] | None) -> tuple[int, Any]:
        if not self.request_url:
            return 503, "no app"
        signature = signature_headers(self.secret, sending.body)
        headers = {"content-type": sending.content_type, **signature}
        if retry:
            headers |= {"x-slack-retry-num": str(retry[0]), "x-slack-retry-reason": retry[1]}
        async with asyncio.timeout(ACK_SECONDS):
            response = await self._client.post(
                self.request_url,
                content=sending.body.encode(),
                headers=headers,
                timeout=ACK_SECONDS,
            )
        try:
            return response.status_code, response.json()
        except ValueError:
            return response.status_code, response.text

    async def _by_socket(self, sending: _Sending, retry: tuple[int, str] | None) -> tuple[int, Any]:
        envelope_id = secrets.token_hex(16)
        envelope: Json = {
            "envelope_id": envelope_id,
            "type": sending.kind,
            "payload": sending.payload,
            "accepts_response_payload": sending.kind != "events_api",
        }
        if retry:
            envelope |= {"retry_attempt": retry[0], "retry_reason": retry[1]}
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting[envelope_id] = answer
        try:
            await self.sockets[-1].send_text(json.dumps(envelope))
            return 200, await asyncio.wait_for(answer, ACK_SECONDS)
        finally:
            self.waiting.pop(envelope_id, None)

    async def serve_socket(self, socket: Socket) -> None:
        """Serve one Socket Mode connection until it closes."""
        await socket.accept()
        hello = {
            "type": "hello",
            "num_connections": len(self.sockets) + 1,
            "connection_info": {"app_id": seed.APP_ID},
            "debug_info": {"host": "playground"},
        }
        await socket.send_text(json.dumps(hello))
        self.sockets.append(socket)
        try:
            async for text in socket.iter_text():
                answer = json.loads(text)
                waiting = self.waiting.get(answer.get("envelope_id", ""))
                if waiting and not waiting.done():
                    waiting.set_result(answer.get("payload"))
        finally:
            self.sockets.remove(socket)


def signature_headers(secret: str, body: str, at: int | None = None) -> dict[str, str]:
    """Return the headers of Slack's signature.

    `at`: seconds since 1970; now by default.
    """
    stamp = str(int(time.time()) if at is None else at)
    digest = hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": stamp, "x-slack-signature": f"v0={digest}"}
