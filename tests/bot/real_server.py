"""Run the bot's real server as a process, and send raw HTTP requests."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.playground.server import free_port
from retention.settings import Settings
from tests.bot.wire import ADMIN, SECRET, signature, slash_command

FORM = "application/x-www-form-urlencoded"


@dataclass
class RunningBot:
    """A running server."""

    port: int
    health_port: int
    process: subprocess.Popen
    log_file: Path

    def request(
        self,
        method: str,
        path: str,
        body: str | bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        port: int | None = None,
        timeout: float = 20,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request over a new connection; return status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=timeout)
        try:
            content = body.encode() if isinstance(body, str) else body
            # A server that refuses a large body answers and closes before all of it is sent.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, content, {"Content-Type": FORM, **(headers or {})})
            answer = connection.getresponse()
            received = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, received, answer.read()
        finally:
            connection.close()

    def signed(
        self, body: str, kind: str = FORM, **options: Any
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request that Slack signed."""
        return self.request(
            "POST", "/slack/events", body, {"Content-Type": kind, **signature(body)}, **options
        )

    def command(self, text: str, user: str = ADMIN, **fields: str) -> tuple[int, dict[str, Any]]:
        """Type ``/retention …``; return status and message."""
        status, _, answer = self.signed(slash_command(text, user, **fields))
        return status, json.loads(answer)

    def log(self) -> str:
        """Return the log."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")


@contextmanager
def running_bot(
    settings: Settings, *, log_file: Path | None = None, **environment: str
) -> Iterator[RunningBot]:
    """Start the server for these settings; stop it with SIGTERM."""
    port, health_port = free_port(), free_port()
    ours = [name for name in os.environ if name.startswith(("RETENTION_", "SLACK_"))]
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    log_file = log_file or settings.home / "bot.log"
    settings.home.mkdir(parents=True, exist_ok=True)
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bot.http.server"],
            env=inherited
            | {"RETENTION_HOME": str(settings.home), "RETENTION_DEMO": "true"}
            | {"RETENTION_PORT": str(port), "RETENTION_HEALTH_PORT": str(health_port)}
            | {"RETENTION_ADMINS": ADMIN, "SLACK_BOT_TOKEN": "xoxb-test"}
            | {"SLACK_SIGNING_SECRET": SECRET, "SLACK_API_URL": settings.slack_api_url}
            | environment,
            stdout=log,
            stderr=log,
        )
    bot = RunningBot(port, health_port, process, log_file)
    try:
        _wait(bot)
        yield bot
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(bot: RunningBot, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and bot.process.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", bot.port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"the bot did not start:\n{bot.log()[-3000:]}")
