"""Sign and verify HTTP bodies.

The HMAC covers timestamp and body.
"""

import hmac
from datetime import datetime
from hashlib import sha256
from itertools import product

from retention.keys import shared_values
from retention.text import gettext

MAX_AGE_SECONDS = 300  # before or after the current time; prevents replays

TIMESTAMP, SIGNATURE = "Retention-Timestamp", "Retention-Signature"


def headers(key: bytes, body: bytes, at: datetime) -> dict[str, str]:
    """Return the headers of a signed body.

    `key`: shared secret. While it is changed, each of its values gives a signature.
    """
    stamp = str(int(at.timestamp()))
    return {TIMESTAMP: stamp, SIGNATURE: " ".join(_signatures(key, stamp, body))}


def signature_fault(key: bytes, body: bytes, stamp: str, signature: str, now: datetime) -> str:
    """Return the fault of a signature, or "".

    `key`: shared secret. While it is changed, any of its values fits.
    """
    if fault := form_fault(TIMESTAMP, stamp):
        return fault
    expected = [each.encode() for each in _signatures(key, stamp, body)]
    given = [each.encode() for each in signature.split()]
    if not any(hmac.compare_digest(*pair) for pair in product(expected, given)):
        return gettext("{header} does not fit the body and the timestamp").format(header=SIGNATURE)
    return age_fault(stamp, now)


def form_fault(header: str, stamp: str) -> str:
    """Return what is wrong with the form of a header with a timestamp, or ""."""
    if stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12:
        return ""
    return gettext("{header} must be the seconds since 1970").format(header=header)


def age_fault(stamp: str, now: datetime) -> str:
    """Return that a timestamp is too old or too new, or ""."""
    if abs(now.timestamp() - int(stamp)) <= MAX_AGE_SECONDS:
        return ""
    text = gettext("the request is signed for another time; send it within {minutes} minutes")
    return text.format(minutes=MAX_AGE_SECONDS // 60)


def _signatures(key: bytes, stamp: str, body: bytes) -> list[str]:
    content = b"v1." + stamp.encode() + b"." + body
    values = (value.encode() for value in shared_values(key.decode()))
    return [f"v1={hmac.new(value, content, sha256).hexdigest()}" for value in values]
