"""Which carrier the installation has."""

from retention.outreach.compose import public_url
from retention.outreach.contract import Adapter
from retention.outreach.smtp import Smtp, parse
from retention.settings import Settings


def channel(settings: Settings) -> str:
    """``email`` where a mail server is configured, else ``csv``: a person takes the file."""
    return "email" if settings.smtp_url else "csv"


def adapter(settings: Settings, name: str) -> Adapter:
    """The carrier of a channel.

    Raises
    ------
    BadInput
        What it needs is not configured (any more).
    """
    return Smtp(parse(settings.smtp_url.get_secret_value() if settings.smtp_url else ""))


def check(settings: Settings) -> None:
    """Refuse to begin what could not be sent.

    Raises
    ------
    BadInput
    """
    if (name := channel(settings)) != "csv":
        adapter(settings, name)
        public_url(settings)
