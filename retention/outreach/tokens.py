"""The word in a link by which a customer unsubscribes: it names one send, and nobody can make one up."""

import hmac
import re

from retention.errors import BadInput
from retention.keys import Keys, keyed_hash
from retention.settings import Settings
from retention.text import gettext

_FORM = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})-([0-9a-f]{32})")


def made(keys: Keys, send_id: int) -> str:
    """The token of a send: which key signs it, the send's number, the signature. It never expires."""
    return f"{keys.current_id}-{send_id}-{_signature(keys.current, send_id)}"


def read(keys: Keys, token: str) -> int | None:
    """The send that a token names; None where no key of ours signed it."""
    match = _FORM.fullmatch(token)
    key = keys.by_id(match[1]) if match else None
    if match is None or key is None:
        return None
    send_id = int(match[2])
    return send_id if hmac.compare_digest(_signature(key, send_id), match[3]) else None


def _signature(key: bytes, send_id: int) -> str:
    return keyed_hash(key, "unsubscribe", str(send_id)).hex()[:32]


def public_url(settings: Settings) -> str:
    """Where customers reach this installation, without a slash at the end.

    Raises
    ------
    BadInput
    """
    if not settings.public_url:
        raise BadInput(
            gettext(
                "RETENTION_PUBLIC_URL is not set, so nobody could unsubscribe; set it to where "
                "customers reach this server, e.g. https://crm.shop.example, before campaigns "
                "are sent from here."
            )
        )
    return settings.public_url.rstrip("/")
