"""Send e-mails through a connected mail platform.

Each platform has one file with one class. `PlatformMail` turns its failures into the verdicts that
`retention.outreach.dispatch` acts on.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from retention import clock
from retention.connect import connections, registry
from retention.connect.contract import ConnectorError
from retention.db import Transaction
from retention.errors import BadInput
from retention.outreach.adapter import (
    ADDRESS_REFUSED,
    DELIVERY_REFUSED,
    EMAIL,
    Adapter,
    Message,
    ServerUnavailable,
    Verdict,
    require_text_channel,
)
from retention.outreach.consent import public_url
from retention.outreach.dispatch import open_adapter, sending_channel
from retention.text import gettext

if TYPE_CHECKING:
    from retention.connect.platforms.contacts import MailPlatform

PAUSE = timedelta(seconds=10)  # if a platform asks for one without its length
CHANNEL = "platform"  # of `retention.outreach.dispatch`


class PlatformMail:
    """The adapter of a mail platform."""

    channel = CHANNEL

    def __init__(self, platform: "MailPlatform", name: str) -> None:
        self._platform, self._name = platform, name
        self.drops_duplicates = platform.drops_duplicates

    def open(self) -> None:
        """Check the key before the first e-mail."""
        try:
            self._platform.check()
        except ConnectorError as error:
            raise self._unavailable(error) from None

    def send(self, message: Message) -> Verdict:
        """Hand over one e-mail."""
        try:
            return Verdict("sent", message_id=self._platform.mail(message)[:255])
        except ConnectorError as error:
            if error.is_uncertain:
                detail = gettext("the platform did not answer ({error})")
                return Verdict("doubtful", detail.format(error=error.detail or error.code))
            if error.code == "rate_limited":
                at = error.retry_at or clock.wall() + PAUSE
                return Verdict("again", gettext("the platform takes no more now"), retry_at=at)
            if error.code == "refused" and error.status in (0, 400, 422):
                names_address = any(word in error.answer for word in self._platform.address_words)
                code = ADDRESS_REFUSED if names_address else DELIVERY_REFUSED
                detail = gettext("the platform refuses the customer ({detail})")
                detail = detail.format(detail=error.detail)
                return Verdict("bounced", detail, code=code, is_about_all=True)
            raise self._unavailable(error) from None

    def close(self) -> None:
        """Disconnect."""
        self._platform.close()

    def _unavailable(self, error: ConnectorError) -> ServerUnavailable:
        reasons = {
            "access_denied": gettext("{name} refuses the key, so nothing more is sent."),
            "scope_missing": gettext("The key of {name} may not send, so nothing more is sent."),
            "plan_limit": gettext("The plan of {name} allows no more e-mails at present."),
        }
        reason = reasons.get(error.code, gettext("{name} cannot be reached at present."))
        return ServerUnavailable(reason.format(name=self._name), error.retry_at)


def open_channel(session: Transaction, name: str) -> Adapter:
    """Return the adapter of a channel, which may be a connection.

    `name`: one of `retention.outreach.dispatch.CHANNELS`, or ``sms`` or ``whatsapp``.
    """
    return open_platform(session) if name == CHANNEL else open_adapter(session.settings, name)


def check_channel(session: Transaction, message_channel: str = EMAIL) -> None:
    """Check that a campaign's messages can be sent.

    `message_channel`: one of `retention.outreach.adapter.MESSAGE_CHANNELS`. E-mails go through the
    configured channel; a short text needs ``RETENTION_SMS_WEBHOOK_URL``.
    """
    require_text_channel(session.settings, message_channel)
    if (name := sending_channel(session.settings, message_channel)) != "csv":
        open_channel(session, name).close()
        public_url(session.settings)


def open_platform(session: Transaction) -> Adapter:
    """Return the adapter of the connection in ``RETENTION_MAIL_CONNECTION``."""
    name = session.settings.mail_connection
    connection = connections.find(session, name)
    if connection.kind not in registry.PLATFORMS:
        message = gettext(
            "RETENTION_MAIL_CONNECTION is {name!r}, a connection to {kind}; name one to {kinds}."
        )
        kinds = ", ".join(registry.PLATFORMS)
        raise BadInput(message.format(name=name, kind=connection.kind, kinds=kinds))
    access = connections.access(session.settings, connection)
    platform: Any = registry.connector(connection.kind, access)
    return PlatformMail(platform, connection.name)
