"""Serve the fake Slack."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

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
from bot.playground.workspace import Store, Workspace


class Slack:
    """One workspace with its Web API and people.

    `port`: port on 127.0.0.1, for its own addresses (uploads, response URLs).
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
        api = ApiContext(self.workspace, RateLimiter(strict=strict), self.faults)
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
