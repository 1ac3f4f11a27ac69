"""The bot's HTTP face as one WSGI application: Slack's requests, health, metrics; and Socket Mode, where it is used."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from slack_bolt import App, BoltRequest
from slack_sdk.errors import SlackClientError
from sqlalchemy.exc import SQLAlchemyError

from bot import health, metrics, oauth, shoppers, tills
from bot.app import build_app
from retention.db import Database
from retention.settings import Settings
from workers import broker, processes
from workers.app import make_app

log = logging.getLogger("retention.bot")

LARGEST_BODY = 1_000_000  # bytes; Slack's own payloads are far smaller

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Reply(NamedTuple):
    """What goes back: a status, headers, bytes."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]


def _reach_queue(settings: Settings) -> None:
    """Load Celery and open its connection now rather than under the first person's three seconds."""
    try:
        with make_app(settings).producer_or_acquire() as producer:
            producer.connection.ensure_connection(max_retries=1)
    except Exception as error:  # it is away: commands are accepted all the same
        log.info("the queue is not there yet: %s", error)


class Site:
    """WSGI: ``POST /slack/events``, ``GET /health…``, ``/metrics``, what customers reach (`bot.shoppers`); with OAuth ``/slack/install``."""

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self.settings = settings
        self.database = database or Database.of(settings)
        self.app: App = build_app(settings, self.database)
        self.wrong_codes = tills.WrongCodes()
        threading.Thread(target=_reach_queue, args=(settings,), name="reach queue", daemon=True).start()
        self.routes: dict[tuple[str, str], Callable[[Environ], Reply]] = {
            ("GET", "/health"): self.health,
            ("GET", "/health/live"): lambda environ: _json(200, {"status": "up"}),
            ("GET", "/health/ready"): self.ready,
            ("GET", "/metrics"): self.metrics,
            ("GET", shoppers.UNSUBSCRIBE): self.asked_to_unsubscribe,
            ("POST", shoppers.UNSUBSCRIBE): self.unsubscribe,
            ("POST", tills.REDEMPTIONS): self.redemption,
        }
        if settings.slack_signing_secret and not settings.slack_app_token:
            self.routes["POST", "/slack/events"] = self.slack
        if self.app.oauth_flow:
            self.routes["GET", oauth.INSTALL] = self.install
            self.routes["GET", oauth.REDIRECT] = self.oauth_redirect

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        began = time.perf_counter()
        path, method = environ.get("PATH_INFO", "/"), environ["REQUEST_METHOD"]
        if path.startswith(shoppers.UNSUBSCRIBE):
            path = shoppers.UNSUBSCRIBE  # its token is nobody else's to read, also not the metrics'
        route = self.routes.get(("GET" if method == "HEAD" else method, path))
        if route:
            reply = route(environ)
        elif any(known == path for _, known in self.routes):
            reply = _json(405, {"error": f"{path} does not take {method}"})
        else:
            reply = _json(404, {"error": "there is nothing here"})
        metrics.observe(path if route else "other", reply.status, time.perf_counter() - began)
        length = ("Content-Length", str(len(reply.body)))
        start_response(f"{reply.status} {HTTPStatus(reply.status).phrase}", [*reply.headers, length])
        return [] if method == "HEAD" else [reply.body]

    def slack(self, environ: Environ) -> Reply:
        """Hand a request to Bolt, which checks its signature and age."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > LARGEST_BODY:
            return _json(413, {"error": "too large"})
        body = environ["wsgi.input"].read(length).decode("utf-8", errors="replace")
        return _from_bolt(self.app.dispatch(BoltRequest(body=body, headers=_headers(environ))))

    def asked_to_unsubscribe(self, environ: Environ) -> Reply:
        """A page with one button: what follows links on its own changes nothing."""
        return Reply(*shoppers.asked(self.settings, environ["PATH_INFO"]))

    def unsubscribe(self, environ: Environ) -> Reply:
        """The button of the page, or the one of a mail reader (RFC 8058)."""
        return Reply(*shoppers.unsubscribe(self.database, self.settings, environ["PATH_INFO"]))

    def redemption(self, environ: Environ) -> Reply:
        """A code that was used, told by a till or the web shop; signed."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(min(length, tills.LARGEST + 1))
        headers = {
            name[5:].replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        status, answer, further = tills.redemption(
            self.database, self.settings, headers, body, self.wrong_codes
        )
        reply = _json(status, answer)
        return reply._replace(headers=[*reply.headers, *further.items()])

    def install(self, environ: Environ) -> Reply:
        """Send the visitor to Slack to install the app."""
        return _guided(environ, self.app.oauth_flow.handle_installation)  # type: ignore[union-attr]

    def oauth_redirect(self, environ: Environ) -> Reply:
        """Take the visitor back from Slack."""
        return _guided(environ, self.app.oauth_flow.handle_callback)  # type: ignore[union-attr]

    def ready(self, environ: Environ) -> Reply:
        """Whether the database answers."""
        up = health.database_answers(self.database)
        return _json(200 if up else 503, {"status": "up" if up else "down"})

    def health(self, environ: Environ) -> Reply:
        """All parts; 503 if one is down."""
        parts = health.parts(self.database, broker.answers(self.settings))
        up = all(part["up"] for part in parts.values())
        return _json(200 if up else 503, {"status": "up" if up else "down", "parts": parts})

    def metrics(self, environ: Environ) -> Reply:
        """Prometheus' text format."""
        body, kind = metrics.exposition(self.database, self.settings)
        return Reply(200, body, [("Content-Type", kind)])


def start(site: Site) -> None:
    """What runs beside the requests: the sign of life and, with an app token, Socket Mode."""
    threading.Thread(target=_report, args=(site,), name="sign of life", daemon=True).start()
    if site.settings.slack_app_token:
        connect(site.app, site.settings)


def connect(app: App, settings: Settings) -> Any:
    """Open Socket Mode: Slack's requests arrive over web sockets that we open; no public address is needed."""
    from slack_bolt.adapter.socket_mode import SocketModeHandler

    token = settings.slack_app_token
    if token is None:
        raise ValueError("Socket Mode needs SLACK_APP_TOKEN")
    handler = SocketModeHandler(app, token.get_secret_value(), concurrency=16, ping_interval=3)
    threading.Thread(target=_keep_connecting, args=(handler,), name="socket mode", daemon=True).start()
    return handler


def _keep_connecting(handler: Any) -> None:
    """The first connection, tried until Slack answers; after it the client reconnects by itself."""
    wait = 1.0
    while True:
        try:
            handler.connect()
            return
        except Exception as error:  # whatever the network does, a later try may do better
            log.warning("Socket Mode cannot connect yet: %s", error)
            time.sleep(wait)
            wait = min(2 * wait, 30.0)


def _report(site: Site) -> None:
    mode = "socket" if site.settings.slack_app_token else "http"
    while True:
        processes.report(site.database, site.settings, "bot", mode=mode, port=site.settings.port)
        time.sleep(processes.EVERY)


def _guided(environ: Environ, step: Callable[[BoltRequest], Any]) -> Reply:
    """One step of an installation; a visitor is not shown a trace."""
    request = BoltRequest(body="", query=environ.get("QUERY_STRING", ""), headers=_headers(environ))
    try:
        return _from_bolt(step(request))
    except (SQLAlchemyError, SlackClientError, OSError) as error:
        log.error("an installation failed: %s", type(error).__name__)
        return _json(503, {"error": f"Slack or the database does not answer; begin again at {oauth.INSTALL}"})


def _headers(environ: Environ) -> dict[str, str | Sequence[str]]:
    found: dict[str, str | Sequence[str]] = {
        name[5:].replace("_", "-").lower(): [value]
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    return {**found, "content-type": [environ.get("CONTENT_TYPE", "")]}


def _from_bolt(response: Any) -> Reply:
    headers = [(name, value) for name, values in response.headers.items() for value in values]
    headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
    return Reply(response.status, response.body.encode(), headers)


def _json(status: int, body: dict[str, Any]) -> Reply:
    return Reply(status, json.dumps(body).encode(), [("Content-Type", "application/json")])
