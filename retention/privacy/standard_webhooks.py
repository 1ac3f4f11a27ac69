"""Verify HTTP calls that are signed by Standard Webhooks.

The signature covers the id, the timestamp and the body as it was sent. The library
``standardwebhooks`` parses the body as JSON before it returns, so it can read neither NDJSON nor
gzip.

References
----------
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

from retention.privacy.signing import MAX_AGE_SECONDS
from retention.text import gettext

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
MAX_ID = 255  # characters
_PREFIX = "whsec_"


def headers(key: str, message_id: str, body: bytes, at: datetime) -> dict[str, str]:
    """Return the headers of a signed call.

    Parameters
    ----------
    key : str
        Shared secret.
    message_id : str
        Unique per call; a repeated call has the same id.
    body : bytes
        As it is sent.
    at : datetime
        Real time.
    """
    stamp = str(int(at.timestamp()))
    signature = _signature(_secrets(key)[0], message_id, stamp, body)
    return {ID: message_id, TIMESTAMP: stamp, SIGNATURE: f"v1,{signature}"}


def form_fault(headers: Mapping[str, str], now: datetime) -> str:
    """Return what is wrong with the headers alone, or "".

    Parameters
    ----------
    headers : mapping
        By lower-case name.
    now : datetime
        Real time.
    """
    stamp = headers.get(TIMESTAMP, "")
    if not 0 < len(headers.get(ID, "")) <= MAX_ID:
        return gettext("{header} is missing or too long").format(header=ID)
    if not stamp.isascii() or not stamp.isdecimal() or len(stamp) > 12:
        return gettext("{header} must be the seconds since 1970").format(header=TIMESTAMP)
    if abs(now.timestamp() - int(stamp)) > MAX_AGE_SECONDS:
        return gettext(
            "the request is signed for another time; send it within {minutes} minutes"
        ).format(minutes=MAX_AGE_SECONDS // 60)
    if "v1," not in headers.get(SIGNATURE, ""):
        return gettext("{header} must be like v1,BASE64").format(header=SIGNATURE)
    return ""


def fault(key: str, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """Return what is wrong with a signed call, or "".

    Parameters
    ----------
    key : str
        Shared secret: ``whsec_`` and base64, or any text.
    headers : mapping
        By lower-case name.
    body : bytes
        As it was sent.
    now : datetime
        Real time.
    """
    if wrong := form_fault(headers, now):
        return wrong
    given = [
        signature.removeprefix("v1,").encode()
        for signature in headers[SIGNATURE].split()
        if signature.startswith("v1,")
    ]
    for secret in _secrets(key):
        expected = _signature(secret, headers[ID], headers[TIMESTAMP], body).encode()
        if any(hmac.compare_digest(expected, signature) for signature in given):
            return ""
    return gettext("{header} does not fit the body, the id and the timestamp").format(
        header=SIGNATURE
    )


def _signature(secret: bytes, message_id: str, stamp: str, body: bytes) -> str:
    content = f"{message_id}.{stamp}.".encode() + body
    return b64encode(hmac.new(secret, content, sha256).digest()).decode()


def _secrets(key: str) -> list[bytes]:
    """Return what a key can mean: libraries decode base64, also without the prefix."""
    try:
        decoded = b64decode(key.removeprefix(_PREFIX), validate=True)
    except BadBase64:
        decoded = b""
    if key.startswith(_PREFIX) and decoded:
        return [decoded]
    return [key.encode(), *([decoded] if decoded else [])]
