"""Serve a stand-in over HTTP, with faults on request.

A test calls `StandIn.fail`. A person who runs a stand-in as a process sends the same by HTTP:
``POST /standin/faults`` with ``{"kind": "server_error", "times": 2, "path": "/orders"}``.
"""

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

STATUSES = {
    "unauthorized": 401,
    "forbidden": 403,
    "unpaid": 402,  # the plan allows no more
    "gone": 404,
    "rate_limited": 429,  # with Retry-After
    "server_error": 500,
}
KINDS = (
    *STATUSES,
    "throttled",  # the bucket is empty (Shopify)
    "hang",
    "cut_after_effect",  # the request has its effect, and the connection ends
    "missing_page",  # a page of a list has no records
    "not_json",
)


@dataclass
class Fault:
    """A fault of the next ``times`` requests whose path or body contains ``path``."""

    kind: str
    times: int = 1
    path: str = ""
    value: float = 0  # Retry-After, or the seconds of a hang


@dataclass(frozen=True, slots=True)
class Call:
    """A received request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the parsed body."""
        return json.loads(self.body or b"null")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response."""

    status: int
    content: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """Return the bytes to send."""
        if isinstance(self.content, bytes):
            return self.content
        return json.dumps(self.content).encode()


def renamed(value: Any, names: dict[str, str]) -> Any:
    """Return a record in which some fields are called otherwise."""
    if isinstance(value, dict):
        return {names.get(key, key): renamed(each, names) for key, each in value.items()}
    return [renamed(each, names) for each in value] if isinstance(value, list) else value


def signature(secret: str, body: bytes) -> str:
    """Return a shop's signature of a webhook."""
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


class StandIn:
    """Base of all stand-ins; a subclass answers `respond`."""

    def __init__(self, port: int = 0) -> None:
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @classmethod
    @contextmanager
    def start(cls, *arguments: Any, **options: Any) -> Iterator[Self]:
        """Serve in a thread."""
        stand_in = cls(*arguments, **options)
        thread = threading.Thread(target=stand_in.serve, daemon=True)
        thread.start()
        try:
            yield stand_in
        finally:
            stand_in._server.shutdown()
            stand_in._server.server_close()
            thread.join()

    def serve(self) -> None:
        """Serve until the process ends."""
        self._server.serve_forever(poll_interval=0.02)

    def fail(self, kind: str, times: int = 1, path: str = "", value: float = 0) -> None:
        """Make the next requests fail."""
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; use one of {', '.join(KINDS)}")
        self.faults.append(Fault(kind, times, path, value))

    def take_fault(self, call: Call, *kinds: str) -> Fault | None:
        """Return a fault of these kinds that this request meets."""
        with self._lock:
            for fault in self.faults:
                target = call.path.encode() + b" " + call.body
                wanted = fault.path.lower().encode()
                if fault.kind in kinds and fault.times and wanted in target.lower():
                    fault.times -= 1
                    return fault
        return None

    def answer(self, call: Call) -> Answer | None:
        """Answer a request; None closes the connection."""
        if call.path == "/standin/faults" and call.method == "POST":
            self.fail(**call.json())
            return Answer(200, {"faults": [vars(fault) for fault in self.faults]})
        with self._lock:
            self.calls.append(call)
        if fault := self.take_fault(call, *STATUSES):
            headers = self.pause(fault.value) if fault.kind == "rate_limited" else {}
            return Answer(STATUSES[fault.kind], {"errors": fault.kind}, headers)
        if fault := self.take_fault(call, "hang"):
            time.sleep(fault.value or 30)
            return None
        if self.take_fault(call, "not_json"):
            return Answer(200, b"<html>maintenance</html>", {"Content-Type": "text/html"})
        with self._lock:
            result = self.respond(call)
        return None if self.take_fault(call, "cut_after_effect") else result

    def pause(self, seconds: float) -> dict[str, str]:
        """Return the headers that ask for a pause."""
        return {"Retry-After": f"{seconds:g}"}

    def respond(self, call: Call) -> Answer:
        """Answer a request without a fault."""
        raise NotImplementedError


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # headers and body in one packet
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            parts = urlsplit(self.path)
            call = Call(
                self.command,
                parts.path,
                dict(parse_qsl(parts.query, keep_blank_values=True)),
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(length) if length else b"",
            )
            if len(call.body) < length:  # the client died
                self.close_connection = True
                return
            answer = stand_in.answer(call)
            if answer is None:
                self.close_connection = True
                return
            body = answer.body()
            self.send_response(answer.status)
            headers = {"Content-Type": "application/json", **answer.headers}
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = _answer

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler
