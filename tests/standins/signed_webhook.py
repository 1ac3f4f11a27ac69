"""An e-mail platform that takes signed webhooks, with configurable faults."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

from retention import clock
from retention.privacy import signing

KEY = b"shared with the platform, long enough"

# Reaction to the n-th attempt (from 0) of an e-mail: a status; "hang"; "drip"; "drop";
# "lie" (200, wrong body); "accept and 500"; "accept and drop"; None: accept.
Does = Callable[[str, int], Any]


class Platform:
    """A test platform.

    ``honours``: whether it drops a repeated key. ``slow_down``: headers of refusals.
    """

    def __init__(
        self,
        does: Does = lambda customer, number: None,
        *,
        honours: bool = True,
        slow_down: Mapping[str, str] = MappingProxyType({"Retry-After": "120"}),
    ) -> None:
        self.does, self.honours, self.slow_down = does, honours, dict(slow_down)
        self.ids: dict[str, str] = {}
        self.copies: Counter[str] = Counter()  # what really went out, by customer
        self.tries: Counter[str] = Counter()
        self.told: list[dict[str, Any]] = []
        self.refused = 0
        platform = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                platform.answer(self)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> "Platform":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook?shop=1"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        stamp, signature = (
            request.headers[name] for name in (signing.TIMESTAMP, signing.SIGNATURE)
        )
        if signing.signature_fault(KEY, body, stamp, signature, clock.wall()):
            self.refused += 1
            return _say(request, 401, {})
        told = json.loads(body)
        assert told["key"] == request.headers["Idempotency-Key"]
        who = told.get("customer_id", "probe")
        does = self.does(who, self.tries[told["key"]])
        self.tries[told["key"]] += 1
        if does is None or str(does).startswith("accept"):
            self.accept(told)
        if does in ("accept and drop", "drop"):
            return None
        if does == "hang":
            time.sleep(1.0)
            return None
        if does == "drip":
            request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
            for _ in range(40):
                request.wfile.write(b" ")
                time.sleep(0.05)
            return None
        if does == "accept and 500":
            return _say(request, 500, {})
        if does == "lie":
            return _say(request, 200, {"ok": True})
        if does is not None:
            return _say(request, int(does), {}, self.slow_down)
        return _say(request, 202, {"key": told["key"], "id": self.ids[told["key"]]})

    def accept(self, told: dict[str, Any]) -> None:
        if told["key"] not in self.ids or not self.honours:
            self.ids[told["key"]] = f"p{sum(self.copies.values())}-{sum(self.tries.values())}"
            if told["type"] == "message":
                self.copies[told["customer_id"]] += 1
                self.told.append(told)


def _say(
    request: BaseHTTPRequestHandler,
    status: int,
    body: dict[str, Any],
    headers: dict[str, str] | None = None,
) -> None:
    answer = json.dumps(body).encode()
    request.send_response(status)
    for name, value in {"Content-Length": str(len(answer)), **(headers or {})}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(answer)
