"""Drive the playground as a person: type, press, fill in modals, wait for messages."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class PlaygroundClient:
    """A client of the playground's script API that waits for messages."""

    def __init__(self, url: str) -> None:
        # No kept connections: the page's server may close one at the moment of the next request.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self.http = httpx2.Client(base_url=url, timeout=300, limits=limits)

    def command(self, user: str, text: str, channel: str = "crm") -> dict[str, Any]:
        answer = self.http.post(
            "/playground/commands", data={"user": user, "channel": channel, "text": text}
        )
        answer.raise_for_status()
        return answer.json()

    def messages(self, channel: str = "crm", user: str | None = None) -> list[dict[str, Any]]:
        params = {"user": user} if user else {}
        return (
            self.http.get(f"/playground/channels/{channel}/messages", params=params)
            .raise_for_status()
            .json()
        )

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
        data = {
            "user": user,
            "channel": channel,
            "ts": message["ts"],
            "block_id": block.get("block_id", ""),
            "action_id": action_id,
            "value": element.get("value", ""),
        }
        answer = self.http.post("/playground/actions", data=data)
        answer.raise_for_status()
        return answer.json()

    def view(self, user: str, seconds: float = 10) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            view = self.http.get("/playground/views", params={"user": user}).json()
            if view and any(block["type"] == "input" for block in view["blocks"]):
                return view
            time.sleep(0.1)
        raise AssertionError(f"no modal with inputs for {user}: {view}")

    def fill(self, user: str, answers: dict[str, str], action: str = "submit") -> dict[str, Any]:
        """Submit the open modal.

        ``answers`` has values by a part of the input's label. Other inputs stay initial.
        """
        values: dict[str, dict[str, Any]] = {}
        for block in self.view(user)["blocks"]:
            if block["type"] != "input":
                continue
            element = block["element"]
            label = block["label"]["text"].lower()
            given = next(
                (value for part, value in answers.items() if part.lower() in label),
                element.get("initial_value"),
            )
            state = {"type": element["type"]}
            if "select" in element["type"]:
                state["selected_option"] = element.get("initial_option")
            else:
                state["value"] = given
            values.setdefault(block["block_id"], {})[element["action_id"]] = state
        data = {"user": user, "values": json.dumps(values), "action": action}
        answer = self.http.post("/playground/views", data=data)
        answer.raise_for_status()
        return answer.json()

    def advance(self, by: str) -> dict[str, Any]:
        return (
            self.http.post("/playground/clock", data={"advance": by}, timeout=600)
            .raise_for_status()
            .json()
        )

    def file(self, file_id: str) -> bytes:
        return self.http.get(f"/playground/files/{file_id}").raise_for_status().content


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


def button(message: dict[str, Any], action_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the block and the element of a button."""
    for block in message.get("blocks") or []:
        for element in [
            *block.get("elements", []),
            *([block["accessory"]] if "accessory" in block else []),
        ]:
            if element.get("action_id") == action_id:
                return block, element
    raise AssertionError(f"no button {action_id} in: {words(message)[:400]}")


def has_button(message: dict[str, Any], action_id: str) -> bool:
    try:
        button(message, action_id)
    except AssertionError:
        return False
    return True


@contextmanager
def demo(home: Path, *, log: Path, **environment: str) -> Iterator[PlaygroundClient]:
    """Run `retention demo` until the block ends."""
    port = free_port()
    env = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RETENTION_", "SLACK_"))
        },
        "RETENTION_HOME": str(home),
        "RETENTION_PORT": str(free_port()),
        "RETENTION_HEALTH_PORT": str(free_port()),
        "RETENTION_PLAYGROUND_PORT": str(port),
        **environment,
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bot.terminal", "demo"],
            env=env,
            stdout=output,
            stderr=output,
            cwd=home.parent,
        )
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
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if (
                httpx2.get(f"{url}/playground/clock", timeout=5).status_code == 200
                and url.encode() in log.read_bytes()
            ):
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.3)
    raise AssertionError(f"the demo did not start:\n{log.read_text(errors='replace')[-3000:]}")
