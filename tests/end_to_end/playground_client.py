"""Drive the playground as a person: type, press, fill in modals, wait for messages."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

from bot.playground.server import free_port
from tests.standins.slack import Script


class PlaygroundClient(Script):
    """A client of the playground's script API that waits for messages."""

    def __init__(self, url: str) -> None:
        # No kept connections: the page's server may close one at the moment of the next request.
        limits = httpx2.Limits(max_keepalive_connections=0)
        super().__init__(httpx2.Client(base_url=url, timeout=300, limits=limits))

    def command(self, user: str, text: str, channel: str = "crm") -> dict[str, Any]:
        return self._accepted("/commands", user=user, channel=channel, text=text)

    def _accepted(self, path: str, **form: Any) -> dict[str, Any]:
        answer = self._post(path, **form)
        assert answer["http"] < 400, answer
        return answer

    def wait(
        self,
        condition: Callable[[list[dict[str, Any]]], Any],
        channel: str = "crm",
        user: str | None = None,
        seconds: float = 120,
    ) -> Any:
        """Return the first truthy value of ``condition(messages)``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if hit := condition(self.messages(channel, user)):
                return hit
            time.sleep(0.3)
        texts = [words(message)[:300] for message in self.messages(channel, user)]
        raise AssertionError(
            f"not seen in {channel} within {seconds} s; the last messages: {texts[-6:]}"
        )

    def press(
        self, user: str, message: dict[str, Any], action_id: str, channel: str = "crm"
    ) -> dict[str, Any]:
        block, element = button(message, action_id)
        pressed = {"block_id": block.get("block_id", ""), "value": element.get("value", "")}
        place = {"user": user, "channel": channel, "ts": message["ts"]}
        return self._accepted("/actions", action_id=action_id, **place, **pressed)

    def advance(self, by: str) -> dict[str, Any]:
        answer = self.http.post("/playground/clock", data={"advance": by}, timeout=600)
        return answer.raise_for_status().json()


def words(message: dict[str, Any]) -> str:
    """Return all text of a message, including blocks."""
    match: list[str] = [message.get("text") or ""]

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("text", "alt_text", "title") and isinstance(value, str):
                    match.append(value)
                else:
                    walk(value)
        elif isinstance(node, list):
            for item in node:
                walk(item)

    walk(message.get("blocks") or [])
    return "\n".join(match)


def _buttons(message: dict[str, Any]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return the block and the element of each button, by action id."""
    placed = [
        (element["action_id"], (block, element))
        for block in message.get("blocks") or []
        for element in (*block.get("elements", ()), block.get("accessory", {}))
        if "action_id" in element
    ]
    return dict(reversed(placed))  # the first of several


def button(message: dict[str, Any], action_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the block and the element of a button."""
    assert has_button(message, action_id), f"no button {action_id} in: {words(message)[:400]}"
    return _buttons(message)[action_id]


def has_button(message: dict[str, Any], action_id: str) -> bool:
    return action_id in _buttons(message)


@contextmanager
def demo(home: Path, *, log: Path, **environment: str) -> Iterator[PlaygroundClient]:
    """Run `retention demo` until the block ends."""
    port = free_port()
    ports = {"RETENTION_PORT": str(free_port()), "RETENTION_HEALTH_PORT": str(free_port())}
    ports["RETENTION_PLAYGROUND_PORT"] = str(port)
    others = {k: v for k, v in os.environ.items() if not k.startswith(("RETENTION_", "SLACK_"))}
    env = {**others, "RETENTION_HOME": str(home), **ports, **environment}
    command = [sys.executable, "-m", "bot.terminal", "demo"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output, cwd=home.parent)
    try:
        url = f"http://127.0.0.1:{port}"
        _until_usable(url, process, log)
        yield PlaygroundClient(url)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _until_usable(url: str, process: subprocess.Popen, log: Path, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx2.TransportError):
            answer = httpx2.get(f"{url}/playground/clock", timeout=5)
            if answer.status_code == 200 and url.encode() in log.read_bytes():
                return
        time.sleep(0.3)
    raise AssertionError(f"the demo did not start:\n{log.read_text(errors='replace')[-3000:]}")
