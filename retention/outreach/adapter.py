"""Define messages, delivery verdicts and the adapter interface."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import ColumnElement, case

from retention import clock
from retention.db.tables import Send
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext

MAX_PAUSE = timedelta(hours=6)  # longest one that a platform may ask for
FIRST_UNIX_TIME = 1e9  # a smaller number is seconds from now
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
State = Literal["sent", "again", "bounced", "failed", "doubtful"]

# Stored in ``sends.error_code``. Code decides by these, never by the sentence in ``sends.error``.
BounceCode = Literal["address_refused", "message_refused", "delivery_refused", "reported_later"]
CancelCode = Literal[
    "no_consent",
    "unsubscribed",
    "same_number",
    "campaign_stopped",
    "campaign_over",
    "window_over",
    "returned",
    "excluded",
    "erased",
]
ADDRESS_REFUSED: BounceCode = "address_refused"  # the address or its mailbox
MESSAGE_REFUSED: BounceCode = "message_refused"  # the content
DELIVERY_REFUSED: BounceCode = "delivery_refused"  # neither is named, e.g. a policy
REPORTED_LATER: BounceCode = "reported_later"  # accepted first, then reported in a file


@dataclass(frozen=True, slots=True)
class Contact:
    """Contact data of a customer; empty fields are unknown.

    ``timezone`` is an IANA name, ``locale`` a language and country like ``de-AT``.
    """

    email: str = ""
    name: str = ""
    timezone: str = ""
    phone: str = ""
    locale: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one customer: an e-mail, or a short text for SMS or WhatsApp.

    ``key`` is unique per send and equal in all attempts. A text has no subject and no HTML.
    """

    key: str
    campaign_id: str
    customer_id: str
    to: Contact
    subject: str
    text: str
    html: str
    unsubscribe_url: str
    offer: dict[str, Any] = field(default_factory=dict)  # action, discount, code, expires_at, items
    channel: str = "email"  # retention.outreach.adapter.MessageChannel
    sender_name: str = ""  # of an e-mail: instead of the installation's
    link: str = ""  # of a text: the page that it opens
    opt_out: str = ""  # of a text: how to end further ones, part of ``text``
    parts: int = 1  # of a text: number of SMS that it takes
    reply_to: str = ""  # of an e-mail; empty: the sender


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of one attempt to send.

    ``sent``: accepted under ``message_id``. ``again``: not accepted, may be later. ``bounced``:
    refused for good. ``failed``: cannot be sent. ``doubtful``: unknown whether accepted.
    """

    state: State
    detail: str = ""
    message_id: str | None = None
    retry_at: datetime | None = None  # real time before which the server accepts nothing
    code: BounceCode | None = None  # if it bounced
    # The server cut the connection; twice in a row, no e-mail is at fault.
    has_hung_up: bool = False
    # Concerns all e-mails unless one of this campaign was accepted.
    is_about_all: bool = False


class ServerUnavailable(Exception):
    """The server accepts nothing at present.

    The present e-mail was not accepted. ``until`` is the real time before which the server wants no
    request.
    """

    def __init__(self, detail: str, until: datetime | None = None) -> None:
        super().__init__(detail)
        self.until = until


class Adapter(Protocol):
    """Sends e-mails through one channel; one thread at a time."""

    channel: str
    drops_duplicates: bool  # whether the server drops duplicates of a key

    def open(self) -> None:
        """Connect."""

    def send(self, message: Message) -> Verdict:
        """Try to send one e-mail, for at most about a minute."""

    def close(self) -> None:
        """Disconnect; never raises."""


def as_sentence(detail: str) -> str:
    """Return a detail as a sentence with capital and full stop."""
    return f"{detail[:1].upper()}{detail[1:]}."


@contextmanager
def deadline(seconds: float, cut: Callable[[], None]) -> Iterator[None]:
    """Call ``cut`` if the block takes too long.

    Timeouts of single reads do not limit a slow drip of data.
    """
    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def secure_parts(url: str) -> SplitResult | None:
    """Return the parts of an address with HTTPS, or with HTTP on this machine; None of others.

    Requests carry a key and personal data.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    is_secure = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    return parts if host and is_secure else None


def requested_pause(value: str) -> timedelta | None:
    """Return the pause that a header such as Retry-After asks for (RFC 9110); None if invalid.

    `value`: seconds, a date, or a Unix time.
    """
    now = clock.wall()
    try:
        number = float(value)
        seconds = number - now.timestamp() if number >= FIRST_UNIX_TIME else number
        wait = timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, TypeError, OverflowError):  # e.g. a year with twenty digits
            return None
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    return min(max(wait, timedelta(0)), MAX_PAUSE)


MessageChannel = Literal["email", "sms", "whatsapp"]
EMAIL: MessageChannel = "email"
TEXT_CHANNELS: tuple[MessageChannel, ...] = ("sms", "whatsapp")
MESSAGE_CHANNELS: tuple[MessageChannel, ...] = (EMAIL, *TEXT_CHANNELS)
CONSENT_COLUMN = {  # of the lake's table customers
    "email": "marketing_consent",
    "sms": "sms_consent",
    "whatsapp": "whatsapp_consent",
}


def is_text(channel: str) -> bool:
    """Whether a channel reaches a phone number with a short text."""
    return channel in TEXT_CHANNELS


def consent_channel(send_channel: str) -> str:
    """Return the channel whose consent a send needs.

    `send_channel`: as stored in ``sends.channel``: a way to send e-mails, ``call``, ``sms`` or
    ``whatsapp``.
    """
    return send_channel if is_text(send_channel) else EMAIL


def sql_consent_channel() -> ColumnElement[str]:
    """Return `consent_channel` of a send as SQL."""
    return case((Send.channel.in_(TEXT_CHANNELS), Send.channel), else_=EMAIL)


def channel_name(channel: str) -> str:
    """Return a channel's name for people."""
    return {"sms": gettext("SMS"), "whatsapp": gettext("WhatsApp")}.get(channel, gettext("e-mail"))


def require_text_channel(settings: Settings, channel: str) -> None:
    """Refuse SMS and WhatsApp if no platform can send them.

    Raises `BadInput`: ``RETENTION_SMS_WEBHOOK_URL`` is not set.
    """
    if is_text(channel) and not settings.is_switched_on("sms_webhook_url"):
        message = gettext(
            "channel is {channel}, and no platform sends it yet; choose email, or ask an "
            "operator to set RETENTION_SMS_WEBHOOK_URL (docs/operator/sms.md)."
        )
        raise BadInput(message.format(channel=channel), field="message_channel")
