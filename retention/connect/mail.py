"""Send e-mails through a connected mail platform.

Each platform has one file with a class that `Mails`. `PlatformMail` turns its failures into the
verdicts that `retention.outreach.dispatch` acts on.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from sqlalchemy.orm import Session

from retention import clock
from retention.connect import connections
from retention.connect.contract import ConnectorError, Setting
from retention.errors import BadInput
from retention.outreach.adapter import (
    ADDRESS_REFUSED,
    DELIVERY_REFUSED,
    Adapter,
    Message,
    ServerUnavailable,
    Verdict,
)
from retention.outreach.channels import EMAIL, is_text, require_text_channel
from retention.outreach.consent import public_url
from retention.outreach.dispatch import open_adapter, open_text_adapter, sending_channel
from retention.settings import Settings
from retention.text import gettext

PAUSE = timedelta(seconds=10)  # if a platform asks for one without its length
CHANNEL = "platform"  # of `retention.outreach.dispatch`


@runtime_checkable
class Mails(Protocol):
    """A platform that sends an e-mail that we composed."""

    kind: str
    settings: tuple[Setting, ...]
    drops_duplicates: bool  # whether a repeated key is sent once, however late it is repeated
    address_words: tuple[bytes, ...]  # a refusal with one of these is about the address

    def check(self) -> dict[str, str]:
        """Ask the platform whether the key works."""

    def mail(self, message: Message) -> str:
        """Hand over one e-mail, and return the platform's id of it.

        Raises
        ------
        ConnectorError
        """

    def close(self) -> None:
        """Close the connections to the platform."""


class PlatformMail:
    """The adapter of a mail platform.

    Parameters
    ----------
    platform : Mails
        The platform's connector.
    name : str
        Name of the connection, for people.
    """

    channel = CHANNEL

    def __init__(self, platform: Mails, name: str) -> None:
        self._platform, self._name = platform, name
        self.drops_duplicates = platform.drops_duplicates

    def open(self) -> None:
        """Check the key before the first e-mail.

        Raises
        ------
        ServerUnavailable
            The platform takes nothing at present.
        """
        try:
            self._platform.check()
        except ConnectorError as error:
            raise self._unavailable(error) from None

    def send(self, message: Message) -> Verdict:
        """Hand over one e-mail.

        Raises
        ------
        ServerUnavailable
            It was not accepted, and others would not be either.
        """
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
                detail = gettext("the platform refuses the customer ({detail})")
                return Verdict(
                    "bounced",
                    detail.format(detail=error.detail),
                    code=ADDRESS_REFUSED if names_address else DELIVERY_REFUSED,
                    is_about_all=True,
                )
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


def _klaviyo() -> Any:
    from retention.connect.klaviyo import Klaviyo

    return Klaviyo


def _brevo() -> Any:
    from retention.connect.brevo import Brevo

    return Brevo


def _customer_io() -> Any:
    from retention.connect.customer_io import CustomerIo

    return CustomerIo


def _sendgrid() -> Any:
    from retention.connect.sendgrid import SendGrid

    return SendGrid


def _mailchimp() -> Any:
    from retention.connect.mailchimp import Mailchimp

    return Mailchimp


# Kind of a connection → function that imports and returns the class.
PLATFORMS: dict[str, Callable[[], Any]] = {
    "brevo": _brevo,
    "customer.io": _customer_io,
    "klaviyo": _klaviyo,
    "mailchimp": _mailchimp,
    "sendgrid": _sendgrid,
}


def open_channel(session: Session, settings: Settings, name: str) -> Adapter:
    """Return the adapter of a channel, which may be a connection.

    Parameters
    ----------
    session : Session
        Open session.
    settings : Settings
        Settings of the installation.
    name : str
        One of `retention.outreach.dispatch.CHANNELS`, or ``sms`` or ``whatsapp``.

    Raises
    ------
    BadInput
        A setting of the channel is missing or wrong.
    """
    if is_text(name):
        return open_text_adapter(settings)
    return open_platform(session, settings) if name == CHANNEL else open_adapter(settings, name)


def check_channel(session: Session, settings: Settings, message_channel: str = EMAIL) -> None:
    """Check that a campaign's messages can be sent.

    Parameters
    ----------
    session : Session
        Open session.
    settings : Settings
        Settings of the installation.
    message_channel : str, optional
        One of `retention.outreach.channels.MESSAGE_CHANNELS`. E-mails go through the configured
        channel; a short text needs ``RETENTION_SMS_WEBHOOK_URL``.

    Raises
    ------
    BadInput
        A setting is missing or wrong.
    """
    require_text_channel(settings, message_channel)
    if (name := sending_channel(settings, message_channel)) != "csv":
        open_channel(session, settings, name).close()
        public_url(settings)


def open_platform(session: Session, settings: Settings) -> Adapter:
    """Return the adapter of the connection in ``RETENTION_MAIL_CONNECTION``.

    Parameters
    ----------
    session : Session
        Open session.
    settings : Settings
        Settings of the installation.

    Raises
    ------
    BadInput
        There is no such connection, or it is no mail platform.
    """
    connection = connections.find(session, settings, settings.mail_connection)
    if connection.kind not in PLATFORMS:
        raise BadInput(
            gettext(
                "RETENTION_MAIL_CONNECTION is {name!r}, a connection to {kind}; name one to "
                "{kinds}."
            ).format(
                name=settings.mail_connection, kind=connection.kind, kinds=", ".join(PLATFORMS)
            )
        )
    platform = PLATFORMS[connection.kind]()(connections.access(settings, connection))
    return PlatformMail(platform, connection.name)
