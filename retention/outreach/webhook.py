"""Send e-mails, SMS and WhatsApp messages through a platform's signed webhook.

The platform answers 2xx with ``{"key": …, "id": …}``: the idempotency key and its own id. Before
the first e-mail, a probe is sent twice under one key. Only if both answers have the same id, the
platform drops duplicates and uncertain e-mails are repeated.
"""

import http.client
import json
import secrets
import socket
import ssl
from datetime import datetime, timedelta
from typing import Any

from retention import clock
from retention.errors import BadInput
from retention.outreach.adapter import (
    ADDRESS_REFUSED,
    Message,
    ServerUnavailable,
    Verdict,
    as_sentence,
    deadline,
    is_text,
    requested_pause,
    secure_parts,
)
from retention.privacy import signing
from retention.templating import strip_controls
from retention.text import gettext

REPLY_TIMEOUT = 10.0  # seconds for a single read
MESSAGE_TIMEOUT = 20.0  # seconds for a whole answer, however slowly it arrives
MAX_ANSWER = 65_536  # bytes of an answer that are read
DEFAULT_PAUSE = timedelta(minutes=1)  # if it asks for a pause without a length


class WebhookAdapter:
    """The webhook of one platform."""

    channel = "webhook"

    def __init__(
        self,
        url: str,
        key: bytes,
        *,
        setting: str = "RETENTION_WEBHOOK_URL",
        timeout: float = REPLY_TIMEOUT,
        patience: float = MESSAGE_TIMEOUT,
    ) -> None:
        if (parts := secure_parts(url)) is None:
            message = gettext(
                "{setting} cannot be used; write it like "
                "https://platform.example/hooks/retention (http:// only on this machine, for "
                "it carries names and addresses)."
            )
            raise BadInput(message.format(setting=setting))
        if not key:
            text = gettext(
                "RETENTION_WEBHOOK_KEY is not set; the platform needs the same key to know "
                "that a request is ours."
            )
            raise BadInput(text)
        self._host, self._port = parts.hostname or "", parts.port
        self._tls, self._key, self._setting = parts.scheme == "https", key, setting
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout, self._patience = timeout, patience
        self._connection: http.client.HTTPConnection | None = None
        self.drops_duplicates = False

    def open(self) -> None:
        """Send a probe twice under one key to test deduplication."""
        key = f"probe:{secrets.token_hex(8)}"
        first, second = (self._probe(key) for _ in range(2))
        self.drops_duplicates = first == second

    def _probe(self, key: str, *, is_between: bool = False) -> str:
        consequence = gettext("nothing more is sent") if is_between else gettext("nothing was sent")
        try:
            status, body, wait = self._post(key, {"type": "probe", "key": key})
        except _NoAnswer as error:
            message = gettext("The platform does not answer a probe ({error}), so {consequence}.")
            raise ServerUnavailable(message.format(error=error, consequence=consequence)) from None
        if status == 429:
            detail, until = _pause(wait)
            raise ServerUnavailable(as_sentence(detail), until)
        platform_id = _platform_id(status, body, key)
        if platform_id is None:
            sentence = gettext(
                "The platform answers a probe with {status} and not with the key and an id of its "
                "own, so {consequence}."
            ).format(status=status, consequence=consequence)
            raise (_ProbeRefused if 300 <= status < 500 else ServerUnavailable)(sentence)
        return platform_id

    def send(self, message: Message) -> Verdict:
        """Hand over one e-mail.

        5xx, a lost connection and a 2xx without confirmation leave the delivery uncertain.
        Platforms may answer 400 to one bad address, 404 to one unknown customer and 403 to one
        text. A further probe tells such a case from a wrong URL, which concerns all e-mails. An
        e-mail refused on its own is retried as usual and then fails.
        """
        try:
            status, body, wait = self._post(message.key, _payload(message))
        except _NoAnswer as error:
            detail = gettext("the platform did not answer ({error})").format(error=error)
            return Verdict("doubtful", detail)
        if status == 429:
            detail, until = _pause(wait)
            return Verdict("again", detail, retry_at=until)
        answer = gettext("the platform answers {status}").format(status=status)
        if status in (408, 425):
            return Verdict("again", answer)
        if status in (410, 422):
            text = gettext("the platform refuses the customer ({status})")
            return Verdict(
                "bounced", text.format(status=status), code=ADDRESS_REFUSED, is_about_all=True
            )
        if 300 <= status < 500:
            self._check_platform(status)
            text = gettext("the platform does not take this copy ({status})")
            return Verdict("again", text.format(status=status), is_about_all=True)
        platform_id = _platform_id(status, body, message.key)
        if platform_id is not None:
            return Verdict("sent", message_id=platform_id[:255])
        if status >= 500:
            return Verdict("doubtful", answer)
        text = gettext("the platform answers {status}, but does not confirm the copy's key")
        unconfirmed = text.format(status=status)
        return Verdict("doubtful", unconfirmed)

    def _check_platform(self, status: int) -> None:
        """Check with a probe whether only this e-mail is refused."""
        try:
            self._probe(f"probe:{secrets.token_hex(8)}", is_between=True)
        except _ProbeRefused:
            message = gettext(
                "The platform answers {status}; check {setting} and RETENTION_WEBHOOK_KEY."
            )
            raise ServerUnavailable(message.format(status=status, setting=self._setting)) from None

    def _post(self, key: str, payload: dict[str, Any]) -> tuple[int, bytes, timedelta | None]:
        body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        signed = signing.headers(self._key, body, clock.wall())
        connection = self._connect()
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
                    response.read(MAX_ANSWER),
                    requested_pause(response.headers.get("Retry-After", "")),
                )
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _NoAnswer(str(error) or type(error).__name__) from None
        finally:
            self.close()

    def _connect(self) -> http.client.HTTPConnection:
        """Open a connection for one e-mail.

        On a connection kept open, a failure would not show whether anything was handed over.
        """
        if self._tls:
            context = ssl.create_default_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            message = gettext("The platform {host} cannot be reached: {error}.")
            raise ServerUnavailable(message.format(host=self._host, error=error)) from None
        self._connection = connection
        return connection

    def _cut(self) -> None:
        connection = self._connection
        if connection is not None and connection.sock is not None:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # already closed
                return

    def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _ProbeRefused(ServerUnavailable):
    """A probe was refused as with a wrong URL or key."""


class _NoAnswer(Exception):
    """No answer; the request may have arrived."""


def _payload(message: Message) -> dict[str, Any]:
    if is_text(message.channel):
        content = {
            "to": {"phone": message.to.phone},
            "text": message.text,
            "characters": len(message.text),
            "parts": message.parts,
            "link": message.link,
            "opt_out": message.opt_out,
        }
    else:
        content = {
            "to": {"email": message.to.email, "name": strip_controls(message.to.name)},
            "sender_name": message.sender_name,
            "subject": message.subject,
            "text": message.text,
            "html": message.html,
            "reply_to": message.reply_to,
        }
    return {
        "type": "message",
        "channel": message.channel,
        "key": message.key,
        "campaign_id": message.campaign_id,
        "customer_id": message.customer_id,
        **content,
        "unsubscribe_url": message.unsubscribe_url,
        **message.offer,
    }


def _platform_id(status: int, body: bytes, key: str) -> str | None:
    """The platform's id; None without a confirmation of the key."""
    if not 200 <= status < 300:
        return None
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    if not isinstance(answer, dict) or answer.get("key") != key:
        return None
    platform_id = answer.get("id")
    return str(platform_id) if isinstance(platform_id, str | int) and str(platform_id) else None


def _pause(wait: timedelta | None) -> tuple[str, datetime]:
    """Detail and end of a pause that the platform asks for."""
    pause = wait or DEFAULT_PAUSE
    text = gettext("the platform answers 429 and takes no more for {seconds:,.0f} s")
    detail = text.format(seconds=pause.total_seconds())
    return detail, clock.wall() + pause
