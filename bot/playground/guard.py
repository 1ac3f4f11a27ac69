"""Accept only requests of this machine.

A foreign web page may make a browser call ``127.0.0.1``. Its Origin gives it away. A host name
that points here (DNS rebinding) is refused by the Host header.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


class Guard:
    """ASGI middleware for Host, Origin and security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        problem = refusal(Headers(scope=scope), (scope.get("server") or ("", None))[1])
        if problem and scope["type"] == "http":
            answer = JSONResponse({"ok": False, "error": problem}, 403)
            await answer(scope, receive, send)
            return
        if problem:
            await send({"type": "websocket.close", "code": 4403})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, with_headers)


def refusal(headers: Headers, port: int | None) -> str | None:
    """Return the error code of a refusal."""
    # Socket Mode's client omits the port.
    if not _is_local(f"//{headers.get('host', '')}", {port, None}):
        return "forbidden_host"
    origin = headers.get("origin")
    if origin and not _is_local(origin, {port}):
        return "forbidden_origin"
    if (
        headers.get("sec-fetch-site") == "cross-site"
        and headers.get("sec-fetch-mode") != "navigate"
    ):
        return "forbidden_origin"
    return None


def _is_local(url: str, ports: set[int | None]) -> bool:
    try:
        parts = urlsplit(url)
        return parts.hostname in LOCAL and parts.port in ports
    except ValueError:
        return False
