"""Serve the fake Slack.

`StandIn` runs it on a free port in a thread, for tests::

    with StandIn.start() as slack:
        slack.bot_url = "http://127.0.0.1:8000/slack/events"
        slack.command("analyst", "crm", "/retention help")
        slack.messages("crm", user="analyst")
"""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from bot.playground import seed
from bot.playground.deliver import Delivery
from bot.playground.guard import Guard
from bot.playground.http_api import PlaygroundApi
from bot.playground.methods import ApiContext
from bot.playground.rate_limits import Faults, RateLimiter
from bot.playground.user_actions import UserActions
from bot.playground.web_api import WebApi
from bot.playground.workspace import Json, Store, Workspace


class Slack:
    """One workspace with its Web API and people.

    `port`: port on 127.0.0.1, for its own addresses (uploads, response URLs).
    `bot_url`: the app's ``/slack/events``.
    `extras`: additional data for the page: values, or functions of a person's user id.
    """

    def __init__(
        self,
        port: int,
        *,
        store: Path | None = None,
        bot_url: str | None = None,
        strict: bool = True,
        extras: dict[str, Any] | None = None,
        now: Callable[[], Any] | None = None,
        secret: str = seed.SIGNING_SECRET,
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.workspace = Workspace(Store(store), now)
        self.workspace.base_url = self.url
        self.faults = Faults()
        self.delivery = Delivery(self.faults, bot_url, secret=secret)
        api = ApiContext(self.workspace, RateLimiter(strict=strict), self.faults, lambda: self.url)
        self.user_actions = UserActions(api, self.delivery)
        self.web_api = WebApi(self.user_actions)
        self.playground_api = PlaygroundApi(self.user_actions, extras)

    def app(self, *more: BaseRoute) -> Starlette:
        """Return the ASGI application."""

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            yield
            await self.delivery.close()
            self.workspace.store.close()

        routes = [*self.web_api.routes(), *self.playground_api.routes(), *more]
        return Starlette(routes=routes, middleware=[Middleware(Guard)], lifespan=lifespan)

    def say_bye(self) -> None:
        """End the streams of open pages; a server that stops would wait for them."""
        self.workspace.notify({"type": "bye"})


def server(app: ASGIApp, port: int) -> uvicorn.Server:
    """Return a uvicorn server without signal handlers."""
    return _Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            log_level="warning",
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=2,
            server_header=False,
        )
    )


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


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


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Return whether the port is unused."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class StandIn:
    """A fake Slack on a free port. Its methods call ``/playground`` like a script."""

    def __init__(self, slack: Slack, port: int) -> None:
        self.slack, self.port = slack, port
        self.url, self.api_url = slack.url, f"{slack.url}/api/"
        self._http = httpx2.Client(base_url=slack.url, timeout=30, trust_env=False)

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
                stand_in._http.close()

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of an app for this Slack."""
        return {
            "SLACK_BOT_TOKEN": seed.BOT_TOKEN,
            "SLACK_SIGNING_SECRET": seed.SIGNING_SECRET,
            "SLACK_API_URL": self.api_url,
        }

    @property
    def workspace(self) -> Workspace:
        """The state, for reading. Change it only through calls."""
        return self.slack.workspace

    @property
    def bot_url(self) -> str | None:
        """The app's ``/slack/events``."""
        return self.slack.delivery.request_url

    @bot_url.setter
    def bot_url(self, url: str | None) -> None:
        """The app's ``/slack/events``."""
        self.slack.delivery.request_url = url

    def _post(self, path: str, **form: Any) -> Json:
        response = self._http.post(
            f"/playground{path}", data={k: v for k, v in form.items() if v is not None}
        )
        return {"http": response.status_code, **response.json()}

    def _get(self, path: str, **query: str | None) -> Any:
        params = {key: value for key, value in query.items() if value is not None}
        return self._http.get(f"/playground{path}", params=params).raise_for_status().json()

    def command(self, user: str, channel: str, text: str) -> Json:
        """Type a slash command; returns ``{"status", "ack", "ms"}``."""
        return self._post("/commands", user=user, channel=channel, text=text)

    def say(self, user: str, channel: str, text: str, thread_ts: str | None = None) -> Json:
        """Write an ordinary message."""
        return self._post("/messages", user=user, channel=channel, text=text, thread_ts=thread_ts)

    def drop(self, user: str, name: str, content: bytes, channel: str | None = None) -> Json:
        """Share a file, by default in the person's direct message with the bot."""
        data = {"user": user, "channel": channel or f"@{user}"}
        response = self._http.post("/playground/files", data=data, files={"file": (name, content)})
        return {"http": response.status_code, **response.json()}

    def messages(self, channel: str, user: str | None = None) -> list[Json]:
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
        return self._http.get(f"/playground/files/{file_id}").raise_for_status().content

    def fault(self, kind: str, calls: int = 1, method: str | None = None) -> Json:
        """Let Slack fail for the next calls."""
        return self._post("/faults", kind=kind, calls=calls, method=method)

    def shortcut(
        self, user: str, callback_id: str, channel: str | None = None, ts: str | None = None
    ) -> Json:
        """Choose a global shortcut, or one of a message's menu."""
        return self._post("/shortcuts", user=user, callback_id=callback_id, channel=channel, ts=ts)
