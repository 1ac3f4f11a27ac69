"""Sign and verify HTTP bodies.

The HMAC covers timestamp and body.
"""

import hmac
from datetime import datetime
from hashlib import sha256

from retention.text import gettext

MAX_AGE_SECONDS = 300  # before or after the current time; prevents replays

TIMESTAMP, SIGNATURE = "Retention-Timestamp", "Retention-Signature"


def headers(key: bytes, body: bytes, at: datetime) -> dict[str, str]:
    """Return the headers of a signed body.

    `key`: shared secret.
    """
    stamp = str(int(at.timestamp()))
    return {TIMESTAMP: stamp, SIGNATURE: f"v1={_signature(key, stamp, body)}"}


def signature_fault(key: bytes, body: bytes, stamp: str, signature: str, now: datetime) -> str:
    """Return the fault of a signature, or "".

    `key`: shared secret.
    """
    if fault := form_fault(TIMESTAMP, stamp):
        return fault
    if not hmac.compare_digest(f"v1={_signature(key, stamp, body)}".encode(), signature.encode()):
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


def _signature(key: bytes, stamp: str, body: bytes) -> str:
    return hmac.new(key, b"v1." + stamp.encode() + b"." + body, sha256).hexdigest()
