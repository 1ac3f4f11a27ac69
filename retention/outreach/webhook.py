"""Send e-mails through a platform's signed webhook.

The platform answers 2xx with ``{"key": …, "id": …}``: the idempotency key and its own id. Before
the first e-mail, a probe is sent twice under one key. Only if both answers have the same id, the
platform drops duplicates and uncertain e-mails are repeated.
"""

import http.client
import json
import secrets
import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from retention import clock
from retention.errors import BadInput
from retention.outreach.messages import Message, Unreachable, Verdict, deadline
from retention.privacy import signing
from retention.templating import straight
from retention.text import gettext

TIMEOUT = 10.0  # seconds a single read may take
PATIENCE = 20.0  # seconds a whole answer may take, however slowly it drips in
LONGEST = 65_536  # bytes of an answer that are read
LONGEST_WAIT = timedelta(hours=6)  # that a platform may ask for
PAUSE = timedelta(minutes=1)  # where it asks for one and does not say how long


class Webhook:
    """The webhook of one platform."""

    channel = "webhook"

    def __init__(
        self, url: str, key: bytes, *, timeout: float = TIMEOUT, patience: float = PATIENCE
    ) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            self._host = ""
            parts = urlsplit("")
        local = self._host in ("localhost", "127.0.0.1", "::1")
        if (
            not self._host
            or parts.scheme not in ("https", "http")
            or (parts.scheme == "http" and not local)
        ):
            raise BadInput(
                gettext(
                    "RETENTION_WEBHOOK_URL cannot be used; write it like "
                    "https://platform.example/hooks/retention (http:// only on this machine, for "
                    "it carries names and addresses)."
                )
            )
        if not key:
            raise BadInput(
                gettext(
                    "RETENTION_WEBHOOK_KEY is not set; the platform needs the same key to know "
                    "that a request is ours."
                )
            )
        self._tls, self._key = parts.scheme == "https", key
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout, self._patience = timeout, patience
        self._connection: http.client.HTTPConnection | None = None
        self.repeats = False

    def open(self) -> None:
        """Send a probe twice under one key to test deduplication."""
        key = f"probe:{secrets.token_hex(8)}"
        first, second = (self._probe(key) for _ in range(2))
        self.repeats = first == second

    def _probe(self, key: str, so: str = "nothing was sent") -> str:
        try:
            status, body, wait = self._post(key, {"type": "probe", "key": key})
        except _Lost as lost:
            raise Unreachable(f"The platform does not answer a probe ({lost}), so {so}.") from None
        if status == 429:
            said, until = _paused(wait)
            raise Unreachable(f"T{said[1:]}.", until)
        accepted = _accepted(status, body, key)
        if accepted is None:
            raise (_Refused if 300 <= status < 500 else Unreachable)(
                f"The platform answers a probe with {status} and not with the key and an id of its own, so {so}."
            )
        return accepted

    def send(self, message: Message) -> Verdict:
        """Hand over one e-mail.

        5xx, a lost connection and a 2xx without confirmation leave the delivery uncertain.
        Platforms may answer 400 to one bad address, 404 to one unknown customer and 403 to one
        text. A further probe tells such a case from a wrong URL, which concerns all e-mails. An
        e-mail refused on its own is retried as usual and then fails.
        """
        try:
            status, body, wait = self._post(message.key, _told(message))
        except _Lost as lost:
            return Verdict("doubtful", f"the platform did not answer ({lost})")
        if status == 429:
            said, until = _paused(wait)
            return Verdict("again", said, retry_at=until)
        if status in (408, 425):
            return Verdict("again", f"the platform answers {status}")
        if status in (410, 422):
            return Verdict("bounced", f"the platform refuses the customer ({status})", of_all=True)
        if 300 <= status < 500:
            self._ask_again(status)
            return Verdict("again", f"the platform does not take this copy ({status})", of_all=True)
        accepted = _accepted(status, body, message.key)
        if accepted is not None:
            return Verdict("sent", message_id=accepted[:255])
        if status >= 500:
            return Verdict("doubtful", f"the platform answers {status}")
        return Verdict(
            "doubtful", f"the platform answers {status}, but does not confirm the copy's key"
        )

    def _ask_again(self, status: int) -> None:
        """Check with a probe whether only this e-mail is refused.

        Raises
        ------
        Unreachable
            The probe fails, too.
        """
        try:
            self._probe(f"probe:{secrets.token_hex(8)}", "nothing more is sent")
        except _Refused:
            raise Unreachable(
                f"The platform answers {status}; check RETENTION_WEBHOOK_URL and RETENTION_WEBHOOK_KEY."
            ) from None

    def _post(self, key: str, told: dict[str, Any]) -> tuple[int, bytes, timedelta | None]:
        body = json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()
        signed = signing.headers(self._key, body, clock.wall())
        connection = self._connected()
        try:
            with deadline(self._patience, self._cut):
                connection.request(
                    "POST",
                    self._path,
                    body,
                    {
                        "Content-Type": "application/json",
                        "Idempotency-Key": key,
                        "Connection": "close",
                        **signed,
                    },
                )
                response = connection.getresponse()
                return (
                    response.status,
                    response.read(LONGEST),
                    _wait(response.headers.get("Retry-After")),
                )
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _Lost(str(error) or type(error).__name__) from None
        finally:
            self.close()

    def _connected(self) -> http.client.HTTPConnection:
        """Open a connection for one e-mail.

        On a connection kept open, a failure would not show whether anything was handed over.

        Raises
        ------
        Unreachable
            Nothing was handed over.
        """
        if self._tls:
            context = ssl.create_default_context()
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=context
            )
        else:
            made = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            made.connect()
        except OSError as error:
            made.close()
            raise Unreachable(f"The platform {self._host} cannot be reached: {error}.") from None
        self._connection = made
        return made

    def _cut(self) -> None:
        connection = self._connection
        if connection is not None and connection.sock is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # it is gone already
                return

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _Refused(Unreachable):
    """A probe was refused as with a wrong URL or key."""


class _Lost(Exception):
    """No answer; the request may have arrived."""


def _told(message: Message) -> dict[str, Any]:
    return {
        "type": "message",
        "key": message.key,
        "campaign_id": message.campaign_id,
        "customer_id": message.customer_id,
        "to": {"email": message.to.email, "name": straight(message.to.name)},
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "unsubscribe_url": message.unsubscribe_url,
        **message.offer,
    }


def _accepted(status: int, body: bytes, key: str) -> str | None:
    """The platform's id; None without a confirmation of the key."""
    if not 200 <= status < 300:
        return None
    try:
        told = json.loads(body)
    except ValueError:
        return None
    if not isinstance(told, dict) or told.get("key") != key:
        return None
    named = told.get("id")
    return str(named) if isinstance(named, str | int) and str(named) else None


def _paused(wait: timedelta | None) -> tuple[str, datetime]:
    """Detail and end of a pause that the platform asks for."""
    pause = wait or PAUSE
    return (
        f"the platform answers 429 and takes no more for {pause.total_seconds():,.0f} s",
        clock.wall() + pause,
    )


def _wait(retry_after: str | None) -> timedelta | None:
    """Parse Retry-After as seconds or date (RFC 9110); None if invalid."""
    if retry_after is None or not retry_after.isascii():
        return None
    if retry_after.isdecimal():
        return min(timedelta(seconds=int(retry_after[:9])), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):  # e.g. of a year with twenty digits
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max(until - clock.wall(), timedelta()), LONGEST_WAIT)
