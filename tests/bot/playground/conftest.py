"""Provide the fake Slack and a small app."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest
from slack_sdk import WebClient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.playground import seed
from tests.standins.slack import StandIn, in_thread, listen


@dataclass
class Probe:
    """An app that records its requests and gives prepared answers."""

    url: str = ""
    received: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], Any] = lambda payload: None
    status: int = 200
    delay: float = 0.0

    async def handle(self, request: Request) -> Response:
        body = await request.body()
        if "json" in request.headers["content-type"]:
            payload = json.loads(body)
        else:
            form = {
                key: values[0]
                for key, values in parse_qs(body.decode(), keep_blank_values=True).items()
            }
            payload = json.loads(form["payload"]) if "payload" in form else form
        self.received.append(payload)
        self.headers.append(dict(request.headers))
        self.bodies.append(body)
        await asyncio.sleep(self.delay)
        answer = await asyncio.to_thread(self.answer, payload)
        return (
            Response(status_code=self.status)
            if answer is None
            else JSONResponse(answer, self.status)
        )


@pytest.fixture
def slack() -> Iterator[StandIn]:
    with StandIn.start() as started:
        yield started


@pytest.fixture(scope="session")
def http() -> Iterator[httpx2.Client]:
    """A browser or script that waits as long as a busy machine needs."""
    with httpx2.Client(timeout=60) as opened:
        yield opened


@pytest.fixture
def client(slack: StandIn) -> WebClient:
    return WebClient(token=seed.BOT_TOKEN, base_url=slack.api_url, retry_handlers=[])


@pytest.fixture
def app(slack: StandIn) -> Iterator[Probe]:
    probe, listener = Probe(), listen()
    probe.url = f"http://127.0.0.1:{listener.getsockname()[1]}/slack/events"
    slack.connect(probe.url)
    routes = [Route("/slack/events", probe.handle, methods=["POST"])]
    with in_thread(Starlette(routes=routes), listener):
        yield probe
