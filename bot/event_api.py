"""Answer the HTTP routes of live events.

``POST /events`` takes signed batches of servers. ``/events/browser`` takes what `events.js` sends.
``/track`` takes the messages of Segment and RudderStack. An event is accepted once it is committed
to the inbox (`retention.connect.inbox`).
"""

import hmac
import logging
import time
import zlib
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from bot.group_commit import GroupCommit
from bot.rate_limit import TokenBuckets
from retention import clock
from retention.connect import events, inbox, segment
from retention.connect.events import CheckedRows
from retention.db import Database
from retention.errors import BadInput
from retention.privacy import standard_webhooks
from retention.settings import Settings
from retention.text import gettext

log = logging.getLogger(__name__)

EVENTS, BROWSER, SCRIPT = "/events", "/events/browser", "/events.js"
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

Headers = dict[str, str]


class Answer(NamedTuple):
    """HTTP status, JSON object (None: no body) and further headers."""

    status: int
    body: dict[str, Any] | None
    headers: Headers


class _Refusal(Exception):
    """A call that is not taken; the answer says why."""

    def __init__(self, status: int, text: str, headers: Headers | None = None) -> None:
        super().__init__(text)
        self.answer = Answer(status, {"error": text}, headers or {})


class EventApi:
    """The routes of live events of one installation.

    Parameters
    ----------
    settings : Settings
        Keys and origins. Without a key the routes answer 404.
    database : Database
        Holds the inbox.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._commits = GroupCommit(database)
        self.calls = TokenBuckets(CALLS_PER_MINUTE, 60)
        self._depth, self._depth_until = 0, float("-inf")
        self._lock = Lock()

    def early_fault(self, headers: Mapping[str, str]) -> str:
        """Return what the headers of ``POST /events`` lack, before its body is read."""
        if self._settings.events_key is None:
            return ""
        return standard_webhooks.form_fault(headers, clock.wall())

    def too_large(self, path: str, headers: Mapping[str, str]) -> Answer | None:
        """Refuse a large body of anyone with the public key, before it is read."""
        is_page = path == BROWSER or (path in TRACK and not self._has_secret_key(headers))
        declared = headers.get("content-length", "0")
        if not is_page or not declared.isdecimal() or int(declared) <= MAX_BROWSER_BYTES:
            return None
        return _too_large(MAX_BROWSER_BYTES).answer._replace(headers=self._cors(headers))

    def events(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Take a signed batch."""
        return self._answered(lambda: self._signed(headers, body))

    def browser(self, headers: Mapping[str, str], body: bytes, query: str, address: str) -> Answer:
        """Take events of a shop's page.

        Parameters
        ----------
        headers : mapping
            By lower-case name.
        body : bytes
            JSON.
        query : str
            Has the public key.
        address : str
            Of the client; its calls are limited.
        """
        return self._answered(lambda: self._from_page(headers, body, query, address), headers)

    def track(
        self, headers: Mapping[str, str], body: bytes, default_type: str, address: str
    ) -> Answer:
        """Take messages of Segment's or RudderStack's libraries.

        Parameters
        ----------
        headers : mapping
            By lower-case name; ``authorization`` has the write key as the user of HTTP Basic.
        body : bytes
            JSON of one message, or of a batch.
        default_type : str
            Type of a message without one.
        address : str
            Of the client.
        """
        return self._answered(lambda: self._messages(headers, body, default_type, address), headers)

    def preflight(self, headers: Mapping[str, str]) -> Answer:
        """Answer a browser that asks whether a page may call."""
        allowed = self._cors(headers)
        if not allowed:
            return Answer(403, {"error": _foreign_origin(headers)}, {})
        return Answer(
            204,
            None,
            allowed
            | {
                "Access-Control-Allow-Methods": "POST",
                "Access-Control-Allow-Headers": "content-type, authorization",
                "Access-Control-Max-Age": "86400",
            },
        )

    @cached_property
    def script(self) -> bytes:
        """The JavaScript for the shop's pages."""
        return Path(__file__).with_name("events.js").read_bytes()

    # ------------------------------------------------------------ senders

    def _signed(self, headers: Mapping[str, str], body: bytes) -> Answer:
        key = self._settings.events_key
        if key is None:
            raise _closed("RETENTION_EVENTS_KEY")
        fault = standard_webhooks.fault(key.get_secret_value(), headers, body, clock.wall())
        if fault:
            raise _Refusal(401, fault)
        self._check_pressure()
        rows = events.read_rows(_unpacked(headers, body))
        return self._store(events.check_rows(rows, clock.now(), source="events"))

    def _from_page(
        self, headers: Mapping[str, str], body: bytes, query: str, address: str
    ) -> Answer:
        if not self._settings.events_public_key:
            raise _closed("RETENTION_EVENTS_PUBLIC_KEY")
        given = parse_qs(query).get("key", [""])[0]
        if not _equal(given, self._settings.events_public_key):
            raise _Refusal(401, gettext("the public key is wrong"))
        self._check_page(headers, address)
        if len(body) > MAX_BROWSER_BYTES:
            raise _too_large(MAX_BROWSER_BYTES)
        self._check_pressure()
        rows = events.read_rows(body)
        _check_number(rows)
        return self._store(events.check_rows(rows, clock.now(), source="browser", is_page=True))

    def _messages(
        self, headers: Mapping[str, str], body: bytes, default_type: str, address: str
    ) -> Answer:
        if not self._settings.takes_events:
            raise _closed("RETENTION_EVENTS_KEY")
        is_secret = self._has_secret_key(headers)
        if not is_secret:
            self._check_public_key(_basic_user(headers))
            self._check_page(headers, address)
        self._check_pressure()
        limit = MAX_UNPACKED_BYTES if is_secret else MAX_BROWSER_BYTES
        try:
            parsed = events.parse_json(_unpacked(headers, body, limit))
        except (ValueError, RecursionError):
            raise BadInput(gettext("the body is no JSON")) from None
        messages, now = segment.messages_of(parsed), clock.now()
        if not is_secret:
            _check_number(messages)
        mapped = segment.map_messages(
            messages, now, default_type=default_type, takes_customers=is_secret
        )
        checked = events.check_rows(
            mapped.events,
            now,
            source="segment",
            is_page=not is_secret,
            id_prefix=events.SEGMENT_ID,
        )
        rejected = [
            replace(rejection, index=mapped.places[rejection.index])
            for rejection in checked.rejected
        ]
        checked = replace(checked, rejected=rejected)
        return self._store(checked, mapped.customers, mapped.customer_keys)

    # ------------------------------------------------------------ checks

    def _has_secret_key(self, headers: Mapping[str, str]) -> bool:
        secret = self._settings.events_key
        return secret is not None and _equal(_basic_user(headers), secret.get_secret_value())

    def _check_public_key(self, key: str) -> None:
        if self._settings.events_public_key and _equal(key, self._settings.events_public_key):
            return
        raise _Refusal(
            401,
            gettext("the write key is wrong; send it as the user of HTTP Basic"),
            {"WWW-Authenticate": "Basic"},
        )

    def _check_page(self, headers: Mapping[str, str], address: str) -> None:
        """Check the origin and the rate of a browser."""
        if not self._cors(headers):
            raise _Refusal(403, _foreign_origin(headers))
        client = client_address(headers, address)
        if not self.calls.take(client):
            wait = self.calls.wait_seconds(client)
            raise _Refusal(
                429,
                gettext("too many calls; send this again in {seconds} s").format(seconds=wait),
                {"Retry-After": str(wait)},
            )

    def _cors(self, headers: Mapping[str, str]) -> Headers:
        """Return the headers that let a page read the answer; empty for a foreign page."""
        origin = headers.get("origin", "")
        if origin.lower() not in self._settings.shop_origin_names:
            return {}
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    def _check_pressure(self) -> None:
        """Refuse while too many events wait for the lake."""
        with self._lock:
            if time.monotonic() >= self._depth_until:
                with self._database.reading() as session:
                    self._depth = inbox.waiting(session, self._settings)
                self._depth_until = time.monotonic() + PRESSURE_SECONDS
            depth = self._depth
        if depth >= inbox.MAX_WAITING:
            raise _Refusal(
                429,
                gettext("{events:,} events wait; send this again in {seconds} s").format(
                    events=depth, seconds=RETRY_SECONDS
                ),
                {"Retry-After": str(RETRY_SECONDS)},
            )

    # ------------------------------------------------------------ storing

    def _store(
        self,
        checked: CheckedRows,
        customers: Sequence[dict[str, Any]] = (),
        customer_keys: Sequence[str] = (),
    ) -> Answer:
        """Commit the rows; the answer counts them."""

        def write(session: Session) -> tuple[int, int]:
            stored = inbox.add(
                session,
                self._settings,
                checked.rows,
                checked.keys,
                earlier_keys=checked.earlier_keys,
            )
            known = inbox.add(session, self._settings, customers, customer_keys, "customers")
            return stored.accepted + known.accepted, stored.duplicate + known.duplicate

        accepted = duplicate = 0
        if checked.rows or customers:
            accepted, duplicate = self._commits.store(write)
        return Answer(
            202,
            {
                "accepted": accepted,
                "duplicate": duplicate,
                "rejected": [rejection.as_dict() for rejection in checked.rejected],
            },
            {},
        )

    def _answered(self, act: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """Run a handler; its refusals become answers that the page may read."""
        cors = self._cors(headers) if headers is not None else {}
        try:
            answer: Answer = act()
        except _Refusal as refusal:
            answer = refusal.answer
        except BadInput as error:
            answer = Answer(400, {"error": str(error)}, {})
        except SQLAlchemyError as error:
            log.error("cannot store events: %s", type(error).__name__)
            text = gettext("the events could not be stored; please send them again")
            answer = Answer(503, {"error": text}, {"Retry-After": "5"})
        return answer._replace(headers=answer.headers | cors)


def client_address(headers: Mapping[str, str], peer: str) -> str:
    """Return the address of a client.

    Only a proxy on this machine or in a private network is trusted to name it. The proxy adds the
    last entry of ``X-Forwarded-For``; earlier ones can be forged.

    Parameters
    ----------
    headers : mapping
        By lower-case name.
    peer : str
        Address of the connection.
    """
    try:
        is_proxy = ip_address(peer).is_private
    except ValueError:
        is_proxy = False
    last = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return last[:64] if is_proxy and last else peer


def _unpacked(headers: Mapping[str, str], body: bytes, limit: int = MAX_UNPACKED_BYTES) -> bytes:
    """Return the body without gzip, up to a number of bytes."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    if encoding != "gzip":
        raise _Refusal(
            415,
            gettext("content-encoding is {encoding!r}; use gzip").format(encoding=encoding[:20]),
        )
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(body, limit + 1)
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
        raise _Refusal(413, gettext("send at most {limit} events").format(limit=MAX_BROWSER_EVENTS))


def _too_large(limit: int) -> _Refusal:
    return _Refusal(413, gettext("the body has more than {limit:,} bytes").format(limit=limit))


def _closed(setting: str) -> _Refusal:
    return _Refusal(
        404, gettext("events are not taken here: {setting} is not set").format(setting=setting)
    )


def _foreign_origin(headers: Mapping[str, str]) -> str:
    return gettext("the page {origin!r} is not listed in RETENTION_SHOP_ORIGINS").format(
        origin=headers.get("origin", "")[:100]
    )


def _basic_user(headers: Mapping[str, str]) -> str:
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return b64decode(encoded, validate=True).decode("utf-8", "replace").partition(":")[0]
    except BadBase64:
        return ""


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
