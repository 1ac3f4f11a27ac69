"""Run the bot's HTTP server (``python -m bot.http.server``).

uvicorn reads each request completely before it takes a thread.

- The event loop reads headers and bodies, verifies signatures, and answers ``/health/live`` and
  ``/health/ready``.
- Slack's requests, public requests, live events and shops' webhooks have separate thread pools, so
  a flood of one cannot delay the others.
- ``/health`` and ``/metrics`` have a separate port, on the loopback interface by default.

There is one process. A second one would compete for SQLite's single writer, and was slower.
"""

import asyncio
import contextlib
import dataclasses
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from bot.http import requests
from bot.http.requests import Reply, Request, error_reply, json_reply
from bot.slack.envelopes import SIGNATURE_HEADER, TIMESTAMP_HEADER
from retention import logs, traces
from retention.privacy import standard_webhooks
from retention.settings import Settings, load_settings_or_exit, warn_of_short_keys
from retention.text import gettext

if TYPE_CHECKING:
    from bot.http.web import Route, Site

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

log = logging.getLogger("retention.bot")

SLACK_THREADS = 32  # concurrent commands share one commit (`bot.group_commit`)
PUBLIC_THREADS = 4  # unsubscribe pages, redemptions, installation
EVENT_THREADS = 4  # concurrent batches share one commit
HOOK_THREADS = 4  # concurrent deliveries share one commit
CHAT_THREADS = 4  # messages share commits; reads of the open chats
TRACKING_THREADS = 8  # opens and clicks share commits
MAX_WAITING_LARGE = 16  # live events and webhooks, whose bodies are large
MAX_WAITING = 200  # requests that wait for a thread of one pool
MAX_BUFFERED_BYTES = 64_000_000  # bodies of all connections, until they are answered
MAX_BUFFERED_HOOK_BYTES = 16_000_000  # of them webhooks of shops, whose senders nobody knows yet
ALWAYS_BUFFERED_BYTES = 32_000  # bytes of one body that are read even then; fits a command
READY_SECONDS = 2.0  # a slower database is not ready
READY_CACHE_SECONDS = 1.0  # requests within this time share one probe
STOP_SECONDS = 5
# Of an answer that says nothing else: no page may show it, run it or learn where it came from.
SAFE_HEADERS = (
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
MAX_LENGTH_DIGITS = 12  # of Content-Length
SIGNED_HEADERS = {
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    standard_webhooks.ID,
    standard_webhooks.TIMESTAMP,
    standard_webhooks.SIGNATURE,
}


def main(settings: Settings | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until it serves, nothing is accepted
    settings = settings or load_settings_or_exit()
    if error := missing_configuration(settings):
        sys.exit(error)
    logs.configure(form=settings.log_format)
    warn_of_short_keys(settings)
    traces.service = "retention-bot"
    sys.setswitchinterval(0.001)
    import uvloop

    from bot.http.web import Site, start

    listeners = _listeners(settings)
    _allow_many_connections()
    site = Site(settings)
    start(site)
    uvloop.run(serve(site, *listeners))
    traces.flush()
    logging.shutdown()
    # Do not wait for deferred writes (`bot.group_commit.GroupCommit.defer`).
    os._exit(0)


def missing_configuration(settings: Settings) -> str:
    """Return the missing configuration, or an empty string."""
    has_app = settings.slack_bot_token or settings.oauth
    if has_app and (settings.slack_app_token or settings.slack_signing_secret):
        return ""
    return gettext(
        "The bot needs SLACK_BOT_TOKEN (or SLACK_CLIENT_ID and SLACK_CLIENT_SECRET, to be "
        "installed by OAuth) with SLACK_APP_TOKEN (Socket Mode) or SLACK_SIGNING_SECRET (HTTP); "
        "without them only the workers run."
    )


async def serve(site: "Site", public: socket.socket, operator: socket.socket) -> None:
    """Serve both ports until SIGTERM or Ctrl-C."""
    servers = [
        (_uvicorn(Gateway(site)), public),
        (_uvicorn(Gateway(site, operator=True)), operator),
    ]

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await asyncio.gather(*(server.serve(sockets=[listener]) for server, listener in servers))


class Gateway:
    """ASGI application that reads and routes requests.

    It refuses some requests and answers the others from a thread.
    """

    def __init__(self, site: "Site", *, operator: bool = False) -> None:
        from bot.http import web

        self._web, self._site, self._operator = web, site, operator
        self._routes = site.operator_routes if operator else site.routes
        self._public = _Pool("public", PUBLIC_THREADS, MAX_WAITING)
        events = _Pool("events", EVENT_THREADS, MAX_WAITING_LARGE)
        tracking = _Pool("tracking", TRACKING_THREADS, MAX_WAITING)
        self._pools = {
            web.SLACK: _Pool("slack", SLACK_THREADS, MAX_WAITING),
            web.shop_webhooks.PATH: _Pool("hooks", HOOK_THREADS, MAX_WAITING_LARGE),
            web.service_api.SERVICE: _Pool("chat", CHAT_THREADS, MAX_WAITING),
            **dict.fromkeys(web.event_api.PATHS, events),
            **dict.fromkeys((web.tracking_api.CLICK, web.tracking_api.OPEN), tracking),
        }
        self._probe = _Probe(site, web.READY)
        self._buffered = self._buffered_hooks = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        request = Request(
            scope["method"],
            scope["path"],
            scope["query_string"].decode("latin-1"),
            _headers(scope["headers"]),
            address=(scope.get("client") or ("",))[0],
        )
        path = self._web.route_of(request.path)
        route = self._web.find_route(self._routes, request.method, path)
        if isinstance(route, Reply):
            await _send(send, route, close=True)
            return
        declared = request.headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > MAX_LENGTH_DIGITS:
            await _send(send, error_reply(400, "Content-Length is no number of bytes"), close=True)
            return
        if "transfer-encoding" in request.headers:  # many tiny chunks take long to parse
            refusal = error_reply(411, "send the body with Content-Length")
            await _send(send, refusal, close=True)
            return
        if early := self._site.early_refusal(request):
            await _send(send, early, close=True)
            return
        body = await self._body(path, request, route, receive)
        if body is None:  # the client is gone, or was dropped
            return
        if isinstance(body, Reply):
            reason = requests.TOO_LARGE if body.status == 413 else requests.OVERLOADED
            requests.note(reason, path)
            await _send(send, body, close=True)
            return
        request, pool = dataclasses.replace(request, body=body), self._pools.get(path, self._public)
        try:
            if path == self._web.READY:
                reply = await self._probe.reply()
            elif path == self._web.LIVE:
                reply = self._site.respond(request)
            else:
                reply = self._refusal(request, path, pool) or await pool.run(
                    self._answer, request, time.monotonic()
                )
        finally:
            self._count(path, -len(body))
        await _send(send, reply)

    def _answer(self, request: Request, since: float) -> Reply:
        """Answer a request in a thread; a command that waited too long for it is shed."""
        is_late = time.monotonic() - since > self._web.shedding.MAX_WAIT_SECONDS
        reply = self._site.shed(request) if is_late else None
        return reply or self._site.respond(request, self._operator)

    def _refusal(self, request: Request, path: str, pool: "_Pool") -> Reply | None:
        """Refuse an unsigned request, and one for which no thread is free.

        Commands are shed first, so that clicks find room.
        """
        if refusal := self._site.refusal(request):
            return refusal
        if pool.waiting >= self._web.shedding.MAX_COMMANDS and (reply := self._site.shed(request)):
            return reply
        if pool.waiting < pool.limit:
            return None
        requests.note(requests.OVERLOADED, path)
        return _busy(429 if path in self._web.event_api.PATHS else 503)

    async def _body(
        self, path: str, request: Request, route: "Route", receive: Receive
    ) -> bytes | Reply | None:
        """Read the body.

        The result is a reply if it is too large, and None after a disconnect. A complete body stays
        counted as buffered.
        """
        too_large = error_reply(413, f"the body has more than {route.max_bytes:,} bytes")
        declared = request.headers.get("content-length", "0")
        if int(declared) > route.max_bytes:
            return too_large
        body, is_complete = bytearray(), False
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                chunk = message.get("body", b"")
                body += chunk
                is_full = self._count(path, len(chunk))
                if len(body) > route.max_bytes:
                    return too_large
                if is_full and len(body) > ALWAYS_BUFFERED_BYTES:
                    return _busy()
                if not message.get("more_body"):
                    is_complete = True
                    return bytes(body)
        finally:
            if not is_complete:
                self._count(path, -len(body))

    def _count(self, path: str, number: int) -> bool:
        """Count buffered bytes; return whether there is no room for more."""
        self._buffered += number
        if path != self._web.shop_webhooks.PATH:
            return self._buffered > MAX_BUFFERED_BYTES
        self._buffered_hooks += number
        has_many_hooks = self._buffered_hooks > MAX_BUFFERED_HOOK_BYTES
        return has_many_hooks or self._buffered > MAX_BUFFERED_BYTES


def _busy(status: int = 503) -> Reply:
    text = gettext("too many requests at the moment; try again in a few seconds")
    return error_reply(status, text, {"Retry-After": "5"})


class _Pool:
    """A thread pool that counts its requests."""

    def __init__(self, name: str, threads: int, limit: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self.waiting, self.limit = 0, limit

    async def run(self, work: Callable[..., Reply], *args: Any) -> Reply:
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work, *args)
        finally:
            self.waiting -= 1


class _Probe:
    """Check the database for ``/health/ready``. Concurrent requests share one check."""

    def __init__(self, site: "Site", path: str) -> None:
        self._site, self._path = site, path
        self._pool = _Pool("ready", 1, 1)
        self._check: asyncio.Task[Reply] | None = None
        self._checked_at = float("-inf")

    async def reply(self) -> Reply:
        loop = asyncio.get_running_loop()
        is_old = self._check is not None and loop.time() - self._checked_at > READY_CACHE_SECONDS
        if self._check is None or (self._check.done() and is_old):
            probe = self._pool.run(self._site.respond, Request("GET", self._path))
            self._check = asyncio.create_task(probe)
            self._checked_at = loop.time()
        try:
            return await asyncio.wait_for(asyncio.shield(self._check), READY_SECONDS)
        except TimeoutError:
            return json_reply(503, {"status": "down"})


def _headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers by name.

    A duplicate signature header is dropped, because it is unclear which one counts.
    """
    headers: dict[str, str] = {}
    duplicates: set[str] = set()
    for name, value in raw:
        key = name.decode("latin-1").lower()
        (duplicates.add(key) if key in headers else headers.update({key: value.decode("latin-1")}))
    for key in duplicates & SIGNED_HEADERS:
        del headers[key]
    return headers


async def _send(send: Send, reply: Reply, *, close: bool = False) -> None:
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers
    ]
    present = {name for name, _ in headers}
    headers += [each for each in SAFE_HEADERS if each[0] not in present]
    headers.append((b"content-length", str(len(reply.body)).encode()))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def _uvicorn(application: Gateway) -> Any:
    import uvicorn

    from bot.http.connections import KEEP_ALIVE_SECONDS, ConnectionLimits, limited

    class Server(uvicorn.Server):
        def capture_signals(self) -> Any:
            return contextlib.nullcontext()  # `serve` handles them, once for both servers

    # A warning for each invalid request would flood the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    return Server(
        uvicorn.Config(
            application,
            http=limited(ConnectionLimits()),
            ws="none",
            loop="asyncio",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )


def check_ports(settings: Settings) -> None:
    """Exit with a message if a port of the bot is taken."""
    for listener in _listeners(settings):
        listener.close()


def _listeners(settings: Settings) -> tuple[socket.socket, socket.socket]:
    """Open both ports. Exit with a message if one is taken."""
    public = "127.0.0.1" if settings.demo else "0.0.0.0"  # noqa: S104
    return (
        _listen(public, settings.port, "RETENTION_PORT"),
        _listen(str(settings.health_host), settings.health_port, "RETENTION_HEALTH_PORT"),
    )


def _listen(host: str, port: int, variable: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        text = gettext(
            "The bot cannot listen on {host}:{port} ({reason}); set {variable} to a free port."
        )
        sys.exit(text.format(host=host, port=port, reason=reason, variable=variable))


def _allow_many_connections() -> None:
    """Raise the limit of open files. Each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


if __name__ == "__main__":
    main()
