"""Run the fake Slack on a free port in a thread, and act in it like a script::

with StandIn.start() as slack:
    slack.connect("http://127.0.0.1:8000/slack/events")
    slack.command("analyst", "crm", "/retention help")
    slack.messages("crm", user="analyst")
"""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from bot.playground import seed
from bot.playground.server import Slack, server
from bot.playground.workspace import Json


@contextmanager
def in_thread(app: ASGIApp, listener: socket.socket) -> Iterator[None]:
    """Serve in a thread until the block ends; the port is never free in between."""
    web = server(app, port=0)
    thread = threading.Thread(target=lambda: asyncio.run(web.serve([listener])), daemon=True)
    thread.start()
    pause = threading.Event()
    while not web.started and thread.is_alive():
        pause.wait(0.01)
    try:
        yield
    finally:
        web.should_exit = True
        thread.join(10)


def listen() -> socket.socket:
    """Take an unused port."""
    return socket.create_server(("127.0.0.1", 0))


class Script:
    """A client of ``/playground``, which scripts use."""

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http

    def _post(self, path: str, **form: Any) -> Json:
        response = self.http.post(
            f"/playground{path}", data={k: v for k, v in form.items() if v is not None}
        )
        return {"http": response.status_code, **response.json()}

    def _get(self, path: str, **query: str | None) -> Any:
        params = {key: value for key, value in query.items() if value is not None}
        return self.http.get(f"/playground{path}", params=params).raise_for_status().json()

    def command(self, user: str, channel: str, text: str) -> Json:
        """Type a slash command; returns ``{"status", "ack", "ms"}``."""
        return self._post("/commands", user=user, channel=channel, text=text)

    def say(self, user: str, channel: str, text: str, thread_ts: str | None = None) -> Json:
        """Write an ordinary message."""
        return self._post("/messages", user=user, channel=channel, text=text, thread_ts=thread_ts)

    def drop(
        self, user: str, name: str, content: bytes, channel: str | None = None, **more: str
    ) -> Json:
        """Share a file, by default in the person's direct message with the bot.

        `more`: ``transcript``, the words that Slack will find in a recording.
        """
        data = {"user": user, "channel": channel or f"@{user}", **more}
        response = self.http.post("/playground/files", data=data, files={"file": (name, content)})
        return {"http": response.status_code, **response.json()}

    def messages(self, channel: str = "crm", user: str | None = None) -> list[Json]:
        """Return a conversation, oldest first."""
        return self._get(f"/channels/{channel}/messages", user=user)

    def press(
        self,
        user: str,
        channel: str,
        ts: str,
        action_id: str,
        value: Any = None,
        block_id: str = "",
    ) -> Json:
        """Press a button or choose.

        `block_id`: the block, if the action id is not unique.
        """
        return self._post(
            "/actions",
            user=user,
            channel=channel,
            ts=ts,
            action_id=action_id,
            value=value,
            block_id=block_id,
        )

    def view(self, user: str) -> Json | None:
        """Return the open modal."""
        return self._get("/views", user=user)

    def submit(self, user: str, values: Json | None = None, action: str = "submit") -> Json:
        """Submit (or close) the open modal.

        `values`: inputs by block and action id.
        """
        return self._post("/views", user=user, values=json.dumps(values or {}), action=action)

    def home(self, user: str) -> Json | None:
        """Open the Home tab."""
        return self._get("/home", user=user)

    def file(self, file_id: str) -> bytes:
        """Return a file's bytes."""
        return self.http.get(f"/playground/files/{file_id}").raise_for_status().content

    def fault(self, kind: str, calls: int = 1, method: str | None = None) -> Json:
        """Let Slack fail for the next calls."""
        return self._post("/faults", kind=kind, calls=calls, method=method)

    def shortcut(
        self, user: str, callback_id: str, channel: str | None = None, ts: str | None = None
    ) -> Json:
        """Choose a global shortcut, or one of a message's menu."""
        return self._post("/shortcuts", user=user, callback_id=callback_id, channel=channel, ts=ts)


class StandIn(Script):
    """A fake Slack on a free port."""

    def __init__(self, slack: Slack, port: int) -> None:
        super().__init__(httpx2.Client(base_url=slack.url, timeout=30, trust_env=False))
        self.slack, self.port = slack, port
        self.workspace = slack.workspace  # to read; change it through calls only
        self.url, self.api_url = slack.url, f"{slack.url}/api/"

    @classmethod
    @contextmanager
    def start(
        cls,
        bot_url: str | None = None,
        *,
        strict: bool = True,
        store: Path | None = None,
        routes: Sequence[BaseRoute] = (),
        extras: dict[str, Any] | None = None,
    ) -> Iterator["StandIn"]:
        """Serve until the block ends.

        `bot_url`: the app's ``/slack/events``.
        `routes`: more routes, such as `bot.playground.page.page_routes`.
        """
        listener = listen()
        port = listener.getsockname()[1]
        slack = Slack(port, store=store, bot_url=bot_url, strict=strict, extras=extras)
        stand_in = cls(slack, port)
        with in_thread(slack.app(*routes), listener):
            try:
                yield stand_in
            finally:
                stand_in.http.close()

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of an app for this Slack."""
        return {
            "SLACK_BOT_TOKEN": seed.BOT_TOKEN,
            "SLACK_SIGNING_SECRET": seed.SIGNING_SECRET,
            "SLACK_API_URL": self.api_url,
        }

    def connect(self, bot_url: str) -> None:
        """Send requests to an app's ``/slack/events``."""
        self.slack.delivery.request_url = bot_url
