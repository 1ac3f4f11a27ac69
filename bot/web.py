"""Answer the bot's HTTP routes, and start Socket Mode.

The routes serve Slack, unsubscribe pages, redemptions, OAuth installation, and health. `Site`
answers one complete request at a time and is independent of connections. `bot.server` reads the
requests and calls it from a thread.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from slack_bolt import App, BoltRequest
from slack_bolt.oauth import OAuthFlow
from slack_sdk.errors import SlackClientError
from sqlalchemy.exc import SQLAlchemyError

from bot import (
    clicks,
    envelopes,
    event_api,
    groups,
    health,
    metrics,
    oauth,
    read_api,
    redemption_api,
    refusals,
    shop_webhooks,
    signature,
)
from bot.app import build_app
from bot.rate_limit import TokenBuckets
from bot.workspace import OwnWorkspace
from retention import clock
from retention.campaigns.unsubscribe_page import render_page
from retention.db import Database
from retention.outreach import consent
from retention.outreach.channels import EMAIL
from retention.settings import Settings
from retention.text import gettext
from workers import broker, processes
from workers.app import make_app

log = logging.getLogger("retention.bot")

SLACK, LIVE, READY = "/slack/events", "/health/live", "/health/ready"
UNSUBSCRIBE = "/unsubscribe/"
MAX_BODY_BYTES = 1_000_000  # Slack's own payloads are far smaller
INSTALLS_PER_MINUTE = 20  # visits of /slack/install in total
NOT_SIGNED = {"error": "not signed by Slack"}
_PAGE_HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    ),
]


@dataclass(frozen=True, slots=True)
class Request:
    """One complete HTTP request.

    Header names are in lower case. ``address`` is the client's.
    """

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    address: str = ""


class Reply(NamedTuple):
    """Status, body and headers of an answer."""

    status: int
    body: bytes
    headers: list[tuple[str, str]]


class Route(NamedTuple):
    """A handler and its body limit in bytes."""

    handler: Callable[[Request], Reply]
    max_bytes: int = 0


class Site:
    """Answer requests by route.

    Parameters
    ----------
    settings : Settings
        The installation. ``/slack/events`` exists only with a signing secret, and
        ``/slack/install`` only with OAuth.
    database : Database, optional
        The installation's database by default.
    """

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self.settings = settings
        self.database = database or Database.of(settings)
        self.workspace = OwnWorkspace(settings, self.database)
        self.app: App = build_app(settings, self.database, self.workspace)
        self.unknown_codes = redemption_api.UnknownCodes()
        self.event_api = event_api.EventApi(settings, self.database)
        self.read_api = read_api.ReadApi(settings, self.database)
        self.shop_webhooks = shop_webhooks.ShopWebhooks(settings, self.database)
        self.installs = TokenBuckets(INSTALLS_PER_MINUTE, 60)
        threading.Thread(
            target=_reach_queue, args=(settings,), name="reach queue", daemon=True
        ).start()
        self.routes: dict[tuple[str, str], Route] = {
            ("GET", LIVE): Route(self.live),
            ("GET", READY): Route(self.ready),
            ("GET", UNSUBSCRIBE): Route(self.unsubscribe_page),
            ("POST", UNSUBSCRIBE): Route(self.unsubscribe, max_bytes=10_000),
            ("POST", redemption_api.PATH): Route(
                self.redemption, max_bytes=redemption_api.MAX_BODY_BYTES
            ),
            ("POST", event_api.EVENTS): Route(self.events, max_bytes=event_api.MAX_BODY_BYTES),
            ("GET", event_api.SCRIPT): Route(self.event_script),
            ("GET", read_api.CUSTOMERS): Route(self.read),
            ("GET", read_api.AUDIENCES): Route(self.read),
            ("GET", read_api.OPENAPI): Route(self.read_description),
            ("POST", shop_webhooks.PATH): Route(
                self.shop_webhook, max_bytes=shop_webhooks.MAX_BODY_BYTES
            ),
        }
        for path in (event_api.BROWSER, *event_api.TRACK):
            self.routes["POST", path] = Route(self.events, max_bytes=event_api.MAX_BODY_BYTES)
            self.routes["OPTIONS", path] = Route(self.event_preflight)
        if settings.slack_signing_secret and not settings.slack_app_token:
            self.routes["POST", SLACK] = Route(self.slack, max_bytes=MAX_BODY_BYTES)
        if self.app.oauth_flow:
            self.routes["GET", oauth.INSTALL] = Route(self.install)
            self.routes["GET", oauth.REDIRECT] = Route(self.oauth_redirect)
        # Only the operator's port serves these.
        self.operator_routes: dict[tuple[str, str], Route] = {
            ("GET", "/health"): Route(self.health),
            ("GET", "/metrics"): Route(self.metrics),
        }

    def early_refusal(self, request: Request) -> Reply | None:
        """Refuse a request by its headers."""
        if route_of(request.path) == SLACK and not signature.has_valid_form(
            request.headers, _now()
        ):
            return self._not_signed()
        if request.path == event_api.EVENTS and (
            fault := self.event_api.early_fault(request.headers)
        ):
            refusals.note(refusals.UNVERIFIED, event_api.EVENTS)
            return json_reply(401, {"error": fault})
        if large := self.event_api.too_large(request.path, request.headers):
            refusals.note(refusals.TOO_LARGE, request.path)
            return _event_reply(large)
        if route_of(request.path) == shop_webhooks.PATH and (
            answer := self.shop_webhooks.early_refusal(request.headers)
        ):
            return json_reply(*answer)
        return None

    def refusal(self, request: Request) -> Reply | None:
        """Refuse an unsigned request to Slack's route."""
        secret = self.settings.slack_signing_secret
        if route_of(request.path) != SLACK or secret is None:
            return None
        if signature.is_verified(secret.get_secret_value(), request.headers, request.body, _now()):
            return None
        return self._not_signed()

    def _not_signed(self) -> Reply:
        refusals.note(refusals.UNVERIFIED, SLACK)
        return json_reply(401, NOT_SIGNED)

    def respond(self, request: Request, *, operator: bool = False) -> Reply:
        """Answer a complete request; never raises.

        Parameters
        ----------
        request : Request
            The complete request.
        operator : bool
            Whether it came to the operator's port.

        Returns
        -------
        Reply
        """
        started = time.perf_counter()
        path = route_of(request.path)
        route = find_route(self.operator_routes if operator else self.routes, request.method, path)
        if isinstance(route, Reply):
            reply = route
        else:
            try:
                reply = self.refusal(request) or route.handler(request)
            except Exception:
                log.exception("a request to %s failed", path)
                reply = json_reply(500, {"error": "internal error"})
        is_known = isinstance(route, Route)
        metrics.observe(path if is_known else "other", reply.status, time.perf_counter() - started)
        return reply._replace(body=b"") if request.method == "HEAD" else reply

    def slack(self, request: Request) -> Reply:
        """Validate a signed request and pass it to Bolt."""
        try:
            text = request.body.decode("utf-8")
            envelopes.validated(text, request.headers.get("content-type", ""))
            return _from_bolt(self.app.dispatch(_bolt_request(request, text)))
        except envelopes.Malformed as error:
            reason = str(error)
        except UnicodeDecodeError:
            reason = "the body is not UTF-8"
        except (LookupError, TypeError, AttributeError) as error:
            # `bot.failures` handles our listeners' errors. Here slack_bolt itself misses a field.
            log.warning("slack_bolt cannot read a request", exc_info=error)
            reason = "a field is missing or of a wrong type"
        refusals.note(refusals.MALFORMED, SLACK)
        return json_reply(400, {"error": reason})

    def unsubscribe_page(self, request: Request) -> Reply:
        """Show a page with one button.

        A link scanner that opens it changes nothing.
        """
        send_id = self._send_id(request)
        if send_id is None:
            return self._page(request, 404, "unknown")
        try:
            with self.database.reading() as session:
                channel = consent.channel_of_send(session, self.settings, send_id)
        except SQLAlchemyError:
            channel = EMAIL  # only the words differ; the button says whether it is stored
        return self._page(request, 200, "ask", channel)

    def unsubscribe(self, request: Request) -> Reply:
        """Withdraw consent.

        The request comes from the page's button or from a mail program (RFC 8058). The signed
        token identifies the customer. A repeated request gets the same answer.
        """
        send_id = self._send_id(request)
        if send_id is None:
            return self._page(request, 404, "unknown")
        try:
            with self.database.transaction() as session:
                consent.unsubscribe(session, self.settings, send_id, clock.now())
                channel = consent.channel_of_send(session, self.settings, send_id)
        except SQLAlchemyError as error:
            log.error("cannot store that send %s unsubscribes: %s", send_id, error)
            # Never say that it is done before it is stored.
            return self._page(request, 503, "later")
        return self._page(request, 200, "done", channel)

    def _send_id(self, request: Request) -> int | None:
        return consent.read_unsubscribe_token(
            self.settings.keys, request.path.removeprefix(UNSUBSCRIBE)
        )

    def _page(self, request: Request, status: int, what: str, channel: str = EMAIL) -> Reply:
        language = request.headers.get("accept-language", "")
        html = render_page(self.settings, what, language, channel)
        return Reply(status, html.encode(), _PAGE_HEADERS)

    def redemption(self, request: Request) -> Reply:
        """Record a coupon redemption of a shop."""
        status, answer, headers = redemption_api.handle_redemption(
            self.database, self.settings, request.headers, request.body, self.unknown_codes
        )
        reply = json_reply(status, answer)
        return reply._replace(headers=[*reply.headers, *headers.items()])

    def events(self, request: Request) -> Reply:
        """Take live events of a server, a page or a tracking library."""
        api, path = self.event_api, request.path
        if path == event_api.EVENTS:
            answer = api.events(request.headers, request.body)
        elif path == event_api.BROWSER:
            answer = api.browser(request.headers, request.body, request.query, request.address)
        else:
            kind = event_api.TRACK[path]
            answer = api.track(request.headers, request.body, kind, request.address)
        if answer.status == 401:
            refusals.note(refusals.UNVERIFIED, path)
        return _event_reply(answer)

    def event_preflight(self, request: Request) -> Reply:
        """Answer a browser's question before it sends events."""
        return _event_reply(self.event_api.preflight(request.headers))

    def event_script(self, request: Request) -> Reply:
        """Return the JavaScript for the shop's pages."""
        return Reply(
            200,
            self.event_api.script,
            [
                ("Content-Type", "text/javascript; charset=utf-8"),
                ("Cache-Control", "public, max-age=3600"),
                ("X-Content-Type-Options", "nosniff"),
            ],
        )

    def shop_webhook(self, request: Request) -> Reply:
        """Store a webhook of a connected shop."""
        name = request.path.removeprefix(shop_webhooks.PATH)
        status, answer = self.shop_webhooks.handle(name, request.headers, request.body)
        return json_reply(status, answer)

    def read(self, request: Request) -> Reply:
        """Answer a call of the read API."""
        status, answer, headers = self.read_api.handle(request.path, request.query, request.headers)
        if status == 401:
            refusals.note(refusals.UNVERIFIED, route_of(request.path))
        reply = json_reply(status, answer)
        return reply._replace(
            headers=[*reply.headers, ("Cache-Control", "no-store"), *headers.items()]
        )

    def read_description(self, request: Request) -> Reply:
        """Return the description of the read API."""
        return Reply(200, self.read_api.openapi, [("Content-Type", "application/json")])

    def install(self, request: Request) -> Reply:
        """Send the visitor to Slack to install the app.

        Visits are limited.
        """
        if not self.installs.take(""):
            reply = json_reply(
                429, {"error": gettext("too many visitors at the moment; try again in a minute")}
            )
            return reply._replace(headers=[*reply.headers, ("Retry-After", "60")])
        flow = cast(OAuthFlow, self.app.oauth_flow)
        return _oauth_step(request, flow.handle_installation)

    def oauth_redirect(self, request: Request) -> Reply:
        """Complete the installation after the visitor returns from Slack."""
        return _oauth_step(request, cast(OAuthFlow, self.app.oauth_flow).handle_callback)

    def live(self, request: Request) -> Reply:
        """Answer that the process is alive."""
        return json_reply(200, {"status": "up"})

    def ready(self, request: Request) -> Reply:
        """Answer whether the database works."""
        up = health.database_answers(self.database)
        return json_reply(200 if up else 503, {"status": "up" if up else "down"})

    def health(self, request: Request) -> Reply:
        """Report all components; 503 if one is down."""
        parts = health.components(
            self.database,
            broker.is_reachable(self.settings),
            takes_events=self.settings.takes_events,
        )
        up = all(part["up"] for part in parts.values())
        return json_reply(200 if up else 503, {"status": "up" if up else "down", "parts": parts})

    def metrics(self, request: Request) -> Reply:
        """Return the metrics in Prometheus' text format."""
        body, kind = metrics.exposition(self.database, self.settings)
        return Reply(200, body, [("Content-Type", kind)])


def route_of(path: str) -> str:
    """Return the route of a path.

    The secret token of an unsubscribe link is removed, the name of a webhook's connection, and
    what the read API is asked for.
    """
    for prefix in (UNSUBSCRIBE, shop_webhooks.PATH, *read_api.PREFIXES):
        if path.startswith(prefix):
            return prefix
    return path


def find_route(routes: dict[tuple[str, str], Route], method: str, path: str) -> Route | Reply:
    """Return the route, or the answer 404 or 405.

    Parameters
    ----------
    routes : dict
        Routes by method and path.
    method : str
        HTTP method.
    path : str
        The route of the path.

    Returns
    -------
    Route or Reply
    """
    route = routes.get(("GET" if method == "HEAD" else method, path))
    if route:
        return route
    if any(known == path for _, known in routes):
        return json_reply(405, {"error": f"{path} does not accept {method}"})
    return json_reply(404, {"error": "not found"})


def json_reply(status: int, body: dict[str, Any]) -> Reply:
    """Build a JSON answer.

    Parameters
    ----------
    status : int
        HTTP status.
    body : dict
        The JSON object.

    Returns
    -------
    Reply
    """
    return Reply(status, json.dumps(body).encode(), [("Content-Type", "application/json")])


def _event_reply(answer: event_api.Answer) -> Reply:
    if answer.body is None:
        return Reply(answer.status, b"", list(answer.headers.items()))
    reply = json_reply(answer.status, answer.body)
    return reply._replace(headers=[*reply.headers, *answer.headers.items()])


def start(site: Site) -> None:
    """Start the heartbeat and Socket Mode."""
    threading.Thread(target=_report, args=(site,), name="heartbeat", daemon=True).start()
    threading.Thread(
        target=groups.keep_fresh, args=(site.settings, site.database), name="groups", daemon=True
    ).start()
    threading.Thread(target=site.shop_webhooks.warm_up, name="connectors", daemon=True).start()
    site.workspace.start()
    threading.Thread(
        target=clicks.repeat_unfinished,
        args=(site.app, site.settings, site.database, clock.wall()),
        name="clicks",
        daemon=True,
    ).start()
    if site.settings.slack_app_token:
        connect(site.app, site.settings)


def connect(app: App, settings: Settings) -> Any:
    """Open Socket Mode.

    Slack's requests arrive over our own web sockets. No public address is needed.

    Parameters
    ----------
    app : App
        The Slack app.
    settings : Settings
        The installation.

    Returns
    -------
    SocketModeHandler

    Raises
    ------
    ValueError
        ``SLACK_APP_TOKEN`` is not set.
    """
    from slack_bolt.adapter.socket_mode import SocketModeHandler

    token = settings.slack_app_token
    if token is None:
        raise ValueError("Socket Mode needs SLACK_APP_TOKEN")
    handler = SocketModeHandler(app, token.get_secret_value(), concurrency=16, ping_interval=3)
    threading.Thread(
        target=_keep_connecting, args=(handler,), name="socket mode", daemon=True
    ).start()
    return handler


def _keep_connecting(handler: Any) -> None:
    """Try to connect until Slack answers.

    Later the client reconnects.
    """
    wait = 1.0
    while True:
        try:
            handler.connect()
            return
        except Exception as error:  # retry after every kind of network error
            log.warning("Socket Mode cannot connect yet: %s", error)
            time.sleep(wait)
            wait = min(2 * wait, 30.0)


def _reach_queue(settings: Settings) -> None:
    """Connect to the broker before the first request."""
    try:
        with make_app(settings).producer_or_acquire() as producer:
            producer.connection.ensure_connection(max_retries=1)
    except Exception as error:  # commands are accepted even without the queue
        log.info("the queue is not there yet: %s", error)


def _report(site: Site) -> None:
    mode = "socket" if site.settings.slack_app_token else "http"
    while True:
        processes.report(site.database, site.settings, "bot", mode=mode, port=site.settings.port)
        time.sleep(processes.REPORT_EVERY)


def _oauth_step(request: Request, step: Callable[[BoltRequest], Any]) -> Reply:
    """Run one step of an installation.

    A visitor never sees a traceback.
    """
    try:
        return _from_bolt(step(_bolt_request(request, "")))
    except (SQLAlchemyError, SlackClientError, OSError) as error:
        log.error("an installation failed: %s", type(error).__name__)
        return json_reply(
            503,
            {
                "error": gettext(
                    "Slack or the database does not answer; begin again at {path}"
                ).format(path=oauth.INSTALL)
            },
        )


def _bolt_request(request: Request, text: str) -> BoltRequest:
    headers: dict[str, Any] = {name: [value] for name, value in request.headers.items()}
    return BoltRequest(body=text, query=request.query, headers=headers)


def _from_bolt(response: Any) -> Reply:
    headers = [(name, value) for name, values in response.headers.items() for value in values]
    headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
    return Reply(response.status, response.body.encode(), headers)


def _now() -> float:
    return clock.wall().timestamp()
