"""Answer the bot's HTTP routes, and start Socket Mode.

The routes serve Slack, unsubscribe pages, redemptions, OAuth installation, and health. `Site`
answers one complete request at a time and is independent of connections. `bot.http.server` reads
the requests and calls it from a thread.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from slack_bolt import App, BoltRequest
from slack_bolt.oauth import OAuthFlow
from slack_sdk.errors import SlackClientError
from sqlalchemy.exc import SQLAlchemyError

from bot.http import (
    event_api,
    health,
    metrics,
    oauth,
    read_api,
    redemption_api,
    requests,
    service_api,
    shop_webhooks,
    tracking_api,
)
from bot.http.rate_limit import TokenBuckets
from bot.http.requests import Reply, Request, error_reply, json_reply, noted
from bot.slack import clicks, envelopes, groups, shedding, token_rotation
from bot.slack.app import build_app
from bot.slack.middleware import SpeakLanguage
from bot.slack.workspace import OwnWorkspace
from retention import clock
from retention.campaigns.message.unsubscribe_page import render_page
from retention.db import Database
from retention.outreach import consent
from retention.outreach.adapter import EMAIL
from retention.settings import Settings
from retention.text import gettext
from workers.app import make_app
from workers.delivery import render
from workers.queue import broker, live_processes

log = logging.getLogger("retention.bot")

SLACK, LIVE, READY = "/slack/events", "/health/live", "/health/ready"
UNSUBSCRIBE = "/unsubscribe/"
MAX_BODY_BYTES = 1_000_000  # Slack's own payloads are far smaller
INSTALLS_PER_MINUTE = 20  # visits of /slack/install in total
_PAGE_HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Frame-Options", "DENY"),
]
_PAGE_POLICY = (
    "default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


class Route(NamedTuple):
    """A handler and its body limit in bytes."""

    handler: Callable[[Request], Reply]
    max_bytes: int = 0


class Site:
    """Answer requests by route.

    `settings`: the installation. ``/slack/events`` exists only with a signing secret, and
    ``/slack/install`` only with OAuth.
    """

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self.settings = settings
        self.database = database.using(settings) if database else Database.of(settings)
        self.workspace = OwnWorkspace(self.database)
        self.languages = SpeakLanguage(self.database)
        self.app: App = build_app(settings, self.database, self.workspace, self.languages)
        self.redemption_api = redemption_api.RedemptionApi(self.database)
        self.event_api = event_api.EventApi(self.database)
        self.service_api = service_api.ServiceApi(self.database)
        self.read_api = read_api.ReadApi(self.database)
        self.shop_webhooks = shop_webhooks.ShopWebhooks(self.database)
        self.tracking_api = tracking_api.TrackingApi(self.database, self._page)
        self.installs = TokenBuckets(INSTALLS_PER_MINUTE, 60)
        threading.Thread(
            target=_reach_queue, args=(settings,), name="reach queue", daemon=True
        ).start()
        read = Route(self.read_api.handle)
        chat = Route(self.service_api.handle, service_api.MAX_BODY_BYTES)
        events = Route(self.event_api.handle, event_api.MAX_BODY_BYTES)
        self.routes: dict[tuple[str, str], Route] = {
            ("GET", LIVE): Route(lambda request: json_reply(200, {"status": "up"})),
            ("GET", READY): Route(self.ready),
            ("GET", UNSUBSCRIBE): Route(self.unsubscribe_page),
            ("POST", UNSUBSCRIBE): Route(self.unsubscribe, 10_000),
            ("GET", tracking_api.CLICK): Route(self.tracking_api.click),
            ("GET", tracking_api.OPEN): Route(self.tracking_api.open),
            ("POST", redemption_api.PATH): Route(
                self.redemption_api.handle, redemption_api.MAX_BODY_BYTES
            ),
            ("GET", event_api.SCRIPT): Route(self.event_api.script),
            ("GET", service_api.SCRIPT): Route(self.service_api.script),
            ("GET", service_api.SERVICE): chat,
            ("POST", service_api.SERVICE): chat,
            ("OPTIONS", service_api.SERVICE): Route(self.service_api.preflight),
            ("GET", read_api.CUSTOMERS): read,
            ("GET", read_api.AUDIENCES): read,
            ("GET", read_api.COUNTS): read,
            ("GET", read_api.OPENAPI): Route(self.read_api.openapi),
            ("POST", shop_webhooks.PATH): Route(
                self.shop_webhooks.handle, shop_webhooks.MAX_BODY_BYTES
            ),
            **{("POST", path): events for path in event_api.PATHS},
            **{
                ("OPTIONS", path): Route(self.event_api.preflight)
                for path in event_api.PATHS - {event_api.EVENTS}
            },
        }
        if settings.slack_signing_secret and not settings.slack_app_token:
            self.routes["POST", SLACK] = Route(self.slack, MAX_BODY_BYTES)
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
        path = route_of(request.path)
        if path == SLACK and not envelopes.has_valid_form(request.headers, _now()):
            return _not_signed()
        if path in event_api.PATHS:
            return self.event_api.early_refusal(request)
        if path == shop_webhooks.PATH:
            return self.shop_webhooks.early_refusal(request)
        return None

    def refusal(self, request: Request) -> Reply | None:
        """Refuse an unsigned request to Slack's route.

        `bot.http.server.Gateway` calls it before a thread works on the request. Bolt checks the
        signature again for whoever calls the app without the gateway.
        """
        secret = self.settings.slack_signing_secret
        if route_of(request.path) != SLACK or secret is None:
            return None
        if envelopes.is_verified(secret.get_secret_value(), request.headers, request.body, _now()):
            return None
        return _not_signed()

    def shed(self, request: Request) -> Reply | None:
        """Answer a signed slash command with a sentence, because the bot has too much to do."""
        fields = shedding.command_of(request.body) if route_of(request.path) == SLACK else None
        if fields is None:
            return None
        return json_reply(200, shedding.answer(self.languages, fields, SLACK))

    def respond(self, request: Request, operator: bool = False) -> Reply:
        """Answer a complete request that `refusal` lets pass; never raises."""
        started = time.perf_counter()
        path = route_of(request.path)
        route = find_route(self.operator_routes if operator else self.routes, request.method, path)
        if isinstance(route, Reply):
            reply = route
        else:
            try:
                reply = route.handler(request)
            except Exception:
                log.exception("a request to %s failed", path)
                reply = error_reply(500, "internal error")
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
            # `bot.slack.failures` handles our listeners' errors. Here slack_bolt itself misses a
            # field.
            log.warning("slack_bolt cannot read a request", exc_info=error)
            reason = "a field is missing or of a wrong type"
        return noted(requests.MALFORMED, SLACK, error_reply(400, reason))

    def unsubscribe_page(self, request: Request) -> Reply:
        """Show a page with one button. A link scanner that opens it changes nothing."""
        send_id = self._send_id(request)
        if send_id is None:
            return self._page(request, 404, "unknown")
        try:
            with self.database.reading() as session:
                channel = consent.channel_of_send(session, send_id)
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
                consent.unsubscribe(session, send_id, clock.now())
                channel = consent.channel_of_send(session, send_id)
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
        nonce = secrets.token_urlsafe(16)
        html = render_page(self.settings, what, language, channel, nonce)
        policy = {"Content-Security-Policy": _PAGE_POLICY.format(nonce=nonce)}
        return Reply(status, html.encode(), _PAGE_HEADERS).adding(policy)

    def install(self, request: Request) -> Reply:
        """Send the visitor to Slack to install the app. Visits are limited."""
        if not self.installs.take(""):
            text = gettext("too many visitors at the moment; try again in a minute")
            return error_reply(429, text, {"Retry-After": "60"})
        flow = cast(OAuthFlow, self.app.oauth_flow)
        return _oauth_step(request, flow.handle_installation)

    def oauth_redirect(self, request: Request) -> Reply:
        """Complete the installation after the visitor returns from Slack."""
        return _oauth_step(request, cast(OAuthFlow, self.app.oauth_flow).handle_callback)

    def ready(self, request: Request) -> Reply:
        """Answer whether the database works."""
        return _health(health.database_answers(self.database))

    def health(self, request: Request) -> Reply:
        """Report all components; 503 if one is down."""
        parts = health.components(
            self.database,
            broker.is_reachable(self.settings),
            takes_events=self.settings.takes_events,
        )
        return _health(all(part["up"] for part in parts.values()), parts=parts)

    def metrics(self, request: Request) -> Reply:
        """Return the metrics in Prometheus' text format."""
        body, kind = metrics.exposition(self.database)
        return Reply(200, body, [("Content-Type", kind)])


def _health(up: bool, **details: Any) -> Reply:
    return json_reply(200 if up else 503, {"status": "up" if up else "down", **details})


def _not_signed() -> Reply:
    return noted(requests.UNVERIFIED, SLACK, error_reply(401, "not signed by Slack"))


def route_of(path: str) -> str:
    """Return the route of a path.

    The secret token of an e-mail's link is removed, the name of a webhook's connection, and what
    the read API is asked for.
    """
    signed = UNSUBSCRIBE, tracking_api.CLICK, tracking_api.OPEN
    for prefix in (*signed, shop_webhooks.PATH, *read_api.PREFIXES):
        if path.startswith(prefix):
            return prefix
    return path


def find_route(routes: dict[tuple[str, str], Route], method: str, path: str) -> Route | Reply:
    """Return the route, or the answer 404 or 405."""
    route = routes.get(("GET" if method == "HEAD" else method, path))
    if route:
        return route
    if any(known == path for _, known in routes):
        return error_reply(405, f"{path} does not accept {method}")
    return error_reply(404, "not found")


def start(site: Site) -> None:
    """Start the heartbeat and Socket Mode."""
    render.compile_templates()  # in a thread beside the first commands, all of them took seconds
    database = site.database
    for name, target, arguments in (
        ("heartbeat", _report, (site,)),
        ("groups", groups.keep_fresh, (database,)),
        ("token rotation", token_rotation.keep_fresh, (database,)),
        ("connectors", site.shop_webhooks.warm_up, ()),
        ("clicks", clicks.repeat_unfinished, (site.app, database, clock.wall())),
    ):
        threading.Thread(target=target, args=arguments, name=name, daemon=True).start()
    site.workspace.start()
    if site.settings.slack_app_token:
        connect(site.app, site.settings, site.languages)


def connect(app: App, settings: Settings, languages: SpeakLanguage) -> Any:
    """Open Socket Mode.

    Slack's requests arrive over our own web sockets. No public address is needed.

    Raises `ValueError`: ``SLACK_APP_TOKEN`` is not set.
    """
    token = settings.slack_app_token
    if token is None:
        raise ValueError("Socket Mode needs SLACK_APP_TOKEN")
    handler = shedding.SocketMode(
        app, token.get_secret_value(), languages=languages, concurrency=16, ping_interval=3
    )
    threading.Thread(
        target=_keep_connecting, args=(handler,), name="socket mode", daemon=True
    ).start()
    return handler


def _keep_connecting(handler: Any) -> None:
    """Try to connect until Slack answers. Later the client reconnects."""
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
        live_processes.report(site.database, "bot", mode=mode, port=site.settings.port)
        time.sleep(live_processes.REPORT_EVERY)


def _oauth_step(request: Request, step: Callable[[BoltRequest], Any]) -> Reply:
    """Run one step of an installation. A visitor never sees a traceback."""
    try:
        return _from_bolt(step(_bolt_request(request, "")))
    except (SQLAlchemyError, SlackClientError, OSError) as error:
        log.error("an installation failed: %s", type(error).__name__)
        text = gettext("Slack or the database does not answer; begin again at {path}")
        return error_reply(503, text.format(path=oauth.INSTALL))


def _bolt_request(request: Request, text: str) -> BoltRequest:
    headers: dict[str, Any] = {name: [value] for name, value in request.headers.items()}
    return BoltRequest(body=text, query=request.query, headers=headers)


def _from_bolt(response: Any) -> Reply:
    headers = [(name, value) for name, values in response.headers.items() for value in values]
    headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
    return Reply(response.status, response.body.encode(), headers)


def _now() -> float:
    return clock.wall().timestamp()
