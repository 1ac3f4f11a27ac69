"""A stand-in for Slack's Web API that records its calls and gives prepared answers."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from tests.workers.harness import wait

TEAM = "T0DEMO"  # of the recorded payloads


@dataclass
class Api:
    """Slack's Web API and response URLs: records calls and gives prepared answers."""

    url: str = ""
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"auth.test": {"ok": True, "team_id": TEAM}}
    )

    def named(self, method: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.calls if name == method]

    def wait(self, method: str) -> dict[str, Any]:
        """Wait for a call of this method and return the latest."""
        return wait(lambda: self.named(method))[-1]


def serve(api: Api) -> ThreadingHTTPServer:
    """Start the server."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            is_json = "json" in self.headers.get("Content-Type", "")
            given = json.loads(body) if is_json else dict(parse_qsl(body))
            method = self.path.rsplit("/", 1)[-1]
            api.calls.append((method, given))
            answer = json.dumps(api.answers.get(method, {"ok": True})).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_port}/api/"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server
