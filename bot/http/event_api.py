"""Answer the HTTP routes of live events.

``POST /events`` takes signed batches of servers. ``/events/browser`` takes what `events.js` sends.
``/track`` takes the messages of Segment and RudderStack. An event is accepted once it is committed
to the inbox (`retention.connect.live.inbox`).
"""

import hmac
import logging
import time
import zlib
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs

from sqlalchemy.exc import SQLAlchemyError

from bot.group_commit import GroupCommit
from bot.http import requests
from bot.http.rate_limit import TokenBuckets
from bot.http.requests import Reply, Request, error_reply, json_reply, noted
from retention import clock
from retention.connect.live import events, inbox, segment
from retention.connect.live.events import CheckedRows
from retention.db import Database, Transaction
from retention.errors import BadInput
from retention.keys import shared_values
from retention.privacy import standard_webhooks
from retention.settings import Settings
from retention.text import gettext

log = logging.getLogger(__name__)

EVENTS, BROWSER, SCRIPT = "/events", "/events/browser", "/events.js"
SCRIPT_FILE = Path(__file__).with_name("events.js")
# Segment's own paths, so that an existing pixel only needs another host.
TRACK = {
    "/track": "track",
    "/v1/track": "track",
    "/v1/identify": "identify",
    "/v1/page": "page",
    "/v1/batch": "track",
}
PATHS = frozenset({EVENTS, BROWSER, *TRACK})
MAX_BODY_BYTES = 2_000_000
MAX_UNPACKED_BYTES = 8_000_000
MAX_BROWSER_BYTES, MAX_BROWSER_EVENTS = 64_000, 100
CALLS_PER_MINUTE = 60  # of one address with the public key
PRESSURE_SECONDS = 0.5  # how long the inbox's depth is remembered
RETRY_SECONDS = 30


class Refusal(Exception):
    """A call that is not taken; the reply says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class EventApi:
    """The routes of live events of one installation. Without a key they answer 404."""

    def __init__(self, database: Database) -> None:
        self._settings, self._database = database.settings, database
        self._commits = GroupCommit(database)
        self.calls = TokenBuckets(CALLS_PER_MINUTE, 60)
        self._depth, self._depth_until = 0, float("-inf")
        self._lock = Lock()

    def early_refusal(self, request: Request) -> Reply | None:
        """Refuse a call by its headers: one without the form of a signature, or a large page's."""
        if request.path == EVENTS:
            if self._settings.events_key is None:
                return None
            fault = standard_webhooks.form_fault(request.headers, clock.wall())
            return noted(requests.UNVERIFIED, EVENTS, error_reply(401, fault)) if fault else None
        is_page = request.path == BROWSER or not self._has_secret_key(request)
        declared = request.headers.get("content-length", "0")
        if not is_page or not declared.isdecimal() or int(declared) <= MAX_BROWSER_BYTES:
            return None
        reply = _too_large(MAX_BROWSER_BYTES).reply.adding(cors_headers(self._settings, request))
        return noted(requests.TOO_LARGE, request.path, reply)

    def handle(self, request: Request) -> Reply:
        """Take live events of a server, a page or a tracking library.

        A refusal becomes an answer that the page may read.
        """
        senders = {EVENTS: self._signed, BROWSER: self._from_page}
        return respond(self._settings, request, senders.get(request.path, self._messages))

    def preflight(self, request: Request) -> Reply:
        """Answer a browser that asks whether a page may call."""
        return preflight_reply(self._settings, request, "POST")

    def script(self, request: Request) -> Reply:
        """Return the JavaScript for the shop's pages."""
        return script_reply(SCRIPT_FILE)

    # ------------------------------------------------------------ senders

    def _signed(self, request: Request) -> Reply:
        key = self._settings.events_key
        if key is None:
            raise closed("RETENTION_EVENTS_KEY")
        secret, now = key.get_secret_value(), clock.wall()
        if fault := standard_webhooks.fault(secret, request.headers, request.body, now):
            raise Refusal(error_reply(401, fault))
        self._check_pressure()
        rows = events.read_rows(_unpacked(request))
        return self._store(events.check_rows(rows, clock.now(), source="events"))

    def _from_page(self, request: Request) -> Reply:
        check_key(self._settings, request)
        check_page(self._settings, request, self.calls)
        if len(request.body) > MAX_BROWSER_BYTES:
            raise _too_large(MAX_BROWSER_BYTES)
        self._check_pressure()
        rows = events.read_rows(request.body)
        _check_number(rows)
        return self._store(events.check_rows(rows, clock.now(), source="browser", is_page=True))

    def _messages(self, request: Request) -> Reply:
        """Take messages of Segment's or RudderStack's libraries.

        The write key is the user of HTTP Basic.
        """
        if not self._settings.takes_events:
            raise closed("RETENTION_EVENTS_KEY")
        is_secret = self._has_secret_key(request)
        if not is_secret:
            self._check_public_key(_basic_user(request))
            check_page(self._settings, request, self.calls)
        self._check_pressure()
        limit = MAX_UNPACKED_BYTES if is_secret else MAX_BROWSER_BYTES
        try:
            parsed = events.parse_json(_unpacked(request, limit))
        except (ValueError, RecursionError):
            raise BadInput(gettext("the body is no JSON")) from None
        messages, now = segment.messages_of(parsed), clock.now()
        if not is_secret:
            _check_number(messages)
        default_type = TRACK[request.path]
        mapped = segment.map_messages(
            messages, now, default_type=default_type, takes_customers=is_secret
        )
        checked = events.check_rows(
            mapped.events, now, source="segment", is_page=not is_secret, id_prefix=events.SEGMENT_ID
        )
        rejected = [
            replace(rejection, index=mapped.places[rejection.index])
            for rejection in checked.rejected
        ]
        checked = replace(checked, rejected=rejected)
        return self._store(checked, mapped.customers, mapped.customer_keys)

    # ------------------------------------------------------------ checks

    def _has_secret_key(self, request: Request) -> bool:
        secret = self._settings.events_key
        return secret is not None and _is_one_of(_basic_user(request), secret.get_secret_value())

    def _check_public_key(self, key: str) -> None:
        public_key = self._settings.events_public_key
        if public_key and _is_one_of(key, public_key):
            return
        text = gettext("the write key is wrong; send it as the user of HTTP Basic")
        raise Refusal(error_reply(401, text, {"WWW-Authenticate": "Basic"}))

    def _check_pressure(self) -> None:
        """Refuse while too many events wait for the lake."""
        with self._lock:
            if time.monotonic() >= self._depth_until:
                with self._database.reading() as session:
                    self._depth = inbox.waiting(session)
                self._depth_until = time.monotonic() + PRESSURE_SECONDS
            depth = self._depth
        if depth >= inbox.MAX_WAITING:
            text = gettext("{events:,} events wait; send this again in {seconds} s")
            text = text.format(events=depth, seconds=RETRY_SECONDS)
            raise Refusal(error_reply(429, text, {"Retry-After": str(RETRY_SECONDS)}))

    # ------------------------------------------------------------ storing

    def _store(
        self,
        checked: CheckedRows,
        customers: Sequence[dict[str, Any]] = (),
        customer_keys: Sequence[str] = (),
    ) -> Reply:
        """Commit the rows; the answer counts them."""

        def write(session: Transaction) -> tuple[int, int]:
            stored = inbox.add(
                session, checked.rows, checked.keys, earlier_keys=checked.earlier_keys
            )
            known = inbox.add(session, customers, customer_keys, "customers")
            return stored.accepted + known.accepted, stored.duplicate + known.duplicate

        accepted = duplicate = 0
        if checked.rows or customers:
            accepted, duplicate = self._commits.store(write)
        rejected = [rejection.as_dict() for rejection in checked.rejected]
        counts = {"accepted": accepted, "duplicate": duplicate, "rejected": rejected}
        return json_reply(202, counts)


def respond(settings: Settings, request: Request, handler: Callable[[Request], Reply]) -> Reply:
    """Return a handler's reply. A refusal becomes an answer that the page may read."""
    try:
        reply = handler(request)
    except Refusal as refusal:
        reply = refusal.reply
    except BadInput as error:
        reply = error_reply(400, str(error))
    except SQLAlchemyError as error:
        log.error("cannot store a call of %s: %s", request.path, type(error).__name__)
        text = gettext("it could not be stored; please send it again")
        reply = error_reply(503, text, {"Retry-After": "5"})
    if reply.status == 401:
        noted(requests.UNVERIFIED, request.path, reply)
    return reply if request.path == EVENTS else reply.adding(cors_headers(settings, request))


def check_key(settings: Settings, request: Request) -> None:
    """Check the public key in a browser's query."""
    if not settings.events_public_key:
        raise closed("RETENTION_EVENTS_PUBLIC_KEY")
    if not _is_one_of(parse_qs(request.query).get("key", [""])[0], settings.events_public_key):
        raise Refusal(error_reply(401, gettext("the public key is wrong")))


def check_page(settings: Settings, request: Request, calls: TokenBuckets) -> None:
    """Check the origin and the rate of a browser."""
    if not cors_headers(settings, request):
        raise Refusal(error_reply(403, _foreign_origin(request)))
    if refusal := calls.refusal(client_address(request)):
        raise Refusal(refusal)


def cors_headers(settings: Settings, request: Request) -> dict[str, str]:
    """Return the headers that let a page read the answer; empty for a foreign page."""
    origin = request.header("origin")
    if origin.lower() not in settings.shop_origin_names:
        return {}
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}


def preflight_reply(settings: Settings, request: Request, methods: str) -> Reply:
    """Answer a browser that asks whether a page may call."""
    allowed = cors_headers(settings, request)
    if not allowed:
        return error_reply(403, _foreign_origin(request))
    headers = {
        **allowed,
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": "content-type, authorization",
        "Access-Control-Max-Age": "86400",
    }
    return Reply(204, b"", list(headers.items()))


def script_reply(file: Path) -> Reply:
    """Return a script for the shop's pages."""
    headers = [
        ("Content-Type", "text/javascript; charset=utf-8"),
        ("Cache-Control", "public, max-age=3600"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return Reply(200, file.read_bytes(), headers)


def client_address(request: Request) -> str:
    """Return the address of a client.

    Only a proxy on this machine or in a private network is trusted to name it. The proxy adds the
    last entry of ``X-Forwarded-For``; earlier ones can be forged.
    """
    try:
        is_proxy = ip_address(request.address).is_private
    except ValueError:
        is_proxy = False
    last = request.header("x-forwarded-for").rpartition(",")[2].strip()
    return last[:64] if is_proxy and last else request.address


def _unpacked(request: Request, limit: int = MAX_UNPACKED_BYTES) -> bytes:
    """Return the body without gzip, up to a number of bytes."""
    encoding = request.header("content-encoding").strip().lower()
    if encoding in ("", "identity"):
        if len(request.body) > limit:
            raise _too_large(limit)
        return request.body
    if encoding != "gzip":
        text = gettext("content-encoding is {encoding!r}; use gzip")
        raise Refusal(error_reply(415, text.format(encoding=encoding[:20])))
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(request.body, limit + 1)
    except zlib.error:
        raise BadInput(gettext("the body is no gzip")) from None
    if len(content) > limit:
        raise _too_large(limit)
    if not unpacker.eof:
        raise BadInput(gettext("the gzip body is incomplete"))
    return content


def _check_number(rows: Sequence[Any]) -> None:
    """Refuse many events of anyone with the public key."""
    if len(rows) > MAX_BROWSER_EVENTS:
        raise Refusal(
            error_reply(
                413, gettext("send at most {limit} events").format(limit=MAX_BROWSER_EVENTS)
            )
        )


def _too_large(limit: int) -> Refusal:
    return Refusal(
        error_reply(413, gettext("the body has more than {limit:,} bytes").format(limit=limit))
    )


def closed(setting: str) -> Refusal:
    text = gettext("this is switched off: {setting} is not set")
    return Refusal(error_reply(404, text.format(setting=setting)))


def _foreign_origin(request: Request) -> str:
    text = gettext("the page {origin!r} is not listed in RETENTION_SHOP_ORIGINS")
    return text.format(origin=request.header("origin")[:100])


def _basic_user(request: Request) -> str:
    scheme, _, encoded = request.header("authorization").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return b64decode(encoded, validate=True).decode("utf-8", "replace").partition(":")[0]
    except BadBase64:
        return ""


def _is_one_of(given: str, key: str) -> bool:
    values = shared_values(key)
    return any(hmac.compare_digest(given.encode(), value.encode()) for value in values)
