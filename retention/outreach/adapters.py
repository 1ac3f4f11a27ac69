"""Which carrier the installation has."""

from pydantic import SecretStr

from retention.outreach.contract import Adapter
from retention.outreach.smtp import Smtp, parse
from retention.outreach.tokens import public_url
from retention.outreach.webhook import Webhook
from retention.settings import Settings


def channel(settings: Settings) -> str:
    """``webhook`` or ``email`` where one is configured (the platform, where both are), else ``csv``: a person takes the file."""
    if settings.webhook_url:
        return "webhook"
    return "email" if settings.smtp_url else "csv"


def adapter(settings: Settings, name: str) -> Adapter:
    """The carrier of a channel.

    Raises
    ------
    BadInput
        What it needs is not configured (any more).
    """
    if name == "webhook":
        return Webhook(_told(settings.webhook_url), _told(settings.webhook_key).encode())
    return Smtp(parse(_told(settings.smtp_url)))


def check(settings: Settings) -> None:
    """Refuse to begin what could not be sent.

    Raises
    ------
    BadInput
    """
    if (name := channel(settings)) != "csv":
        adapter(settings, name)
        public_url(settings)


def _told(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
