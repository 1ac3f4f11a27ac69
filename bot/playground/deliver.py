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

import httpx

from bot.playground import seed
from bot.playground.rate_limits import Faults
from bot.playground.workspace import Json

ACK_SECONDS = 3.0
RETRY_DELAYS = (0.0, 60.0, 300.0)
Socket = Any  # a Starlette WebSocket


@dataclass(frozen=True, slots=True)
class Ack:
    """The app's answer.

    HTTP status (504 too late, 503 unreachable), body, and milliseconds.
    """

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


class Delivery:
    """Sends requests to one app.

    Parameters
    ----------
    faults : Faults
        The active faults.
    request_url : str or None
        The app's ``/slack/events``.
    secret : str
        The signing secret.
    """

    def __init__(
        self, faults: Faults, request_url: str | None = None, *, secret: str = seed.SIGNING_SECRET
    ) -> None:
        self.faults, self.request_url, self.secret = faults, request_url, secret
        self.sockets: list[Socket] = []
        self.waiting: dict[str, asyncio.Future[Any]] = {}
        self.retry_delays: tuple[float, ...] = RETRY_DELAYS
        # The answer to a command while the app cannot be asked.
        self.excuse: Callable[[], str | None] = lambda: None
        self._client = httpx.AsyncClient(trust_env=False)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._client.aclose()

    async def command(self, payload: Json) -> Ack:
        """Deliver a slash command."""
        if sentence := self.excuse():
            return Ack(200, {"response_type": "ephemeral", "text": sentence}, 0)
        return await self._twice_if_faulty("slash_commands", payload, urlencode(payload), _FORM)

    async def interaction(self, payload: Json) -> Ack:
        """Deliver a click, a submission or a closed modal."""
        body = urlencode({"payload": json.dumps(payload)})
        return await self._twice_if_faulty("interactive", payload, body, _FORM)

    async def event(self, event: Json) -> Ack:
        """Deliver an event.

        Retry in the background after an error.
        """
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
        body = json.dumps(payload)
        ack = await self._twice_if_faulty("events_api", payload, body, _JSON)
        if not ack.ok:
            self._spawn(self._retry(payload, body, ack))
        return ack

    async def _retry(self, payload: Json, body: str, ack: Ack) -> None:
        for number, delay in enumerate(self.retry_delays, start=1):
            await asyncio.sleep(delay)
            reason = "http_timeout" if ack.status == 504 else "http_error"
            ack = await self._send("events_api", payload, body, _JSON, retry=(number, reason))
            if ack.ok:
                return

    async def _twice_if_faulty(self, kind: str, payload: Json, body: str, content_type: str) -> Ack:
        ack = await self._send(kind, payload, body, content_type)
        if self.faults.strikes("duplicate_delivery"):
            await self._send(kind, payload, body, content_type, retry=(1, "http_timeout"))
        return ack

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(
        self,
        kind: str,
        payload: Json,
        body: str,
        content_type: str,
        retry: tuple[int, str] | None = None,
    ) -> Ack:
        started = time.monotonic()
        try:
            if self.sockets:
                status, answer = await self._by_socket(kind, payload, retry)
            else:
                status, answer = await self._by_http(body, content_type, retry)
        except (TimeoutError, httpx.TimeoutException):
            status, answer = 504, None
        except (httpx.HTTPError, RuntimeError, OSError) as error:
            status, answer = 503, str(error)
        return Ack(status, answer, round(1000 * (time.monotonic() - started)))

    async def _by_http(
        self, body: str, content_type: str, retry: tuple[int, str] | None
    ) -> tuple[int, Any]:
        if not self.request_url:
            return 503, "no app"
        headers = {"content-type": content_type, **signature_headers(self.secret, body)}
        if retry:
            headers |= {"x-slack-retry-num": str(retry[0]), "x-slack-retry-reason": retry[1]}
        async with asyncio.timeout(ACK_SECONDS):
            response = await self._client.post(
                self.request_url, content=body.encode(), headers=headers, timeout=ACK_SECONDS
            )
        try:
            return response.status_code, response.json()
        except ValueError:
            return response.status_code, response.text

    async def _by_socket(
        self, kind: str, payload: Json, retry: tuple[int, str] | None
    ) -> tuple[int, Any]:
        envelope_id = secrets.token_hex(16)
        envelope: Json = {
            "envelope_id": envelope_id,
            "type": kind,
            "payload": payload,
            "accepts_response_payload": kind != "events_api",
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


_FORM, _JSON = "application/x-www-form-urlencoded", "application/json"


def signature_headers(secret: str, body: str, at: int | None = None) -> dict[str, str]:
    """Return the headers of Slack's signature.

    Parameters
    ----------
    secret : str
        The signing secret.
    body : str
        The body.
    at : int, optional
        Seconds since 1970; now by default.

    Returns
    -------
    dict
    """
    stamp = str(int(time.time()) if at is None else at)
    digest = hmac.new(secret.encode(), f"v0:{stamp}:{body}".encode(), hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": stamp, "x-slack-signature": f"v0={digest}"}
