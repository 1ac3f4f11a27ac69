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

from retention.keys import shared_values
from retention.privacy import signing
from retention.text import gettext

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
MAX_ID = 255  # characters
_PREFIX = "whsec_"


def headers(key: str, message_id: str, body: bytes, at: datetime) -> dict[str, str]:
    """Return the headers of a signed call."""
    stamp = str(int(at.timestamp()))
    signature = _signature(_secrets(key)[0], message_id, stamp, body)
    return {ID: message_id, TIMESTAMP: stamp, SIGNATURE: f"v1,{signature}"}


def form_fault(headers: Mapping[str, str], now: datetime) -> str:
    """Return what is wrong with the headers alone, or ""."""
    stamp = headers.get(TIMESTAMP, "")
    if not 0 < len(headers.get(ID, "")) <= MAX_ID:
        return gettext("{header} is missing or too long").format(header=ID)
    if wrong := signing.form_fault(TIMESTAMP, stamp) or signing.age_fault(stamp, now):
        return wrong
    if "v1," not in headers.get(SIGNATURE, ""):
        return gettext("{header} must be like v1,BASE64").format(header=SIGNATURE)
    return ""


def fault(key: str, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """Return what is wrong with a signed call, or "".

    `key`: shared secret: ``whsec_`` and base64, or any text.
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
    text = gettext("{header} does not fit the body, the id and the timestamp")
    return text.format(header=SIGNATURE)


def _signature(secret: bytes, message_id: str, stamp: str, body: bytes) -> str:
    content = f"{message_id}.{stamp}.".encode() + body
    return b64encode(hmac.new(secret, content, sha256).digest()).decode()


def _secrets(key: str) -> list[bytes]:
    """Return what a key can mean. While it is changed, it has two values."""
    return [secret for value in shared_values(key) for secret in _meanings(value)]


def _meanings(key: str) -> list[bytes]:
    """Return what one value can mean: libraries decode base64, also without the prefix."""
    try:
        decoded = b64decode(key.removeprefix(_PREFIX), validate=True)
    except BadBase64:
        decoded = b""
    if key.startswith(_PREFIX) and decoded:
        return [decoded]
    return [key.encode(), *([decoded] if decoded else [])]
