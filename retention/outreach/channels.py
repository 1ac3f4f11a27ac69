"""Name the channels that a message can take, each with a consent of its own.

The consent to e-mail covers personal calls too. SMS and WhatsApp never fall back to it.
"""

from typing import Literal

from sqlalchemy import ColumnElement, case

from retention.db.tables import Send
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext

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

    Parameters
    ----------
    send_channel : str
        As stored in ``sends.channel``: a way to send e-mails, ``call``, ``sms`` or ``whatsapp``.
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

    Parameters
    ----------
    settings : Settings
        Settings of the installation.
    channel : str
        One of `MESSAGE_CHANNELS`.

    Raises
    ------
    BadInput
        ``RETENTION_SMS_WEBHOOK_URL`` is not set.
    """
    if is_text(channel) and not settings.is_switched_on("sms_webhook_url"):
        raise BadInput(
            gettext(
                "channel is {channel}, and no platform sends it yet; choose email, or ask an "
                "operator to set RETENTION_SMS_WEBHOOK_URL (docs/operator/sms.md)."
            ).format(channel=channel),
            field="message_channel",
        )
