"""Signed HTTP bodies: an HMAC over the moment and the bytes, so that neither can be changed and old ones are refused."""

import hmac
from datetime import datetime
from hashlib import sha256

AGE = 300  # seconds: a signature further from real time, before or after, is refused

TIMESTAMP, SIGNATURE = "Retention-Timestamp", "Retention-Signature"


def headers(key: bytes, body: bytes, at: datetime) -> dict[str, str]:
    """The headers that sign a body at a moment of real time."""
    stamp = str(int(at.timestamp()))
    return {TIMESTAMP: stamp, SIGNATURE: f"v1={_signature(key, stamp, body)}"}


def why_not(key: bytes, body: bytes, stamp: str, signature: str, now: datetime) -> str:
    """Why a signed body is not to be believed; empty where it is.

    Parameters
    ----------
    stamp, signature : str
        The headers' values, as they came.
    now : datetime
        Real time.
    """
    if not stamp.isascii() or not stamp.isdecimal() or len(stamp) > 12:
        return f"{TIMESTAMP} must be the seconds since 1970"
    if not hmac.compare_digest(f"v1={_signature(key, stamp, body)}".encode(), signature.encode()):
        return f"{SIGNATURE} does not fit the body and the timestamp"
    if abs(now.timestamp() - int(stamp)) > AGE:
        return f"the request is signed for another time; send it within {AGE // 60} minutes"
    return ""


def _signature(key: bytes, stamp: str, body: bytes) -> str:
    return hmac.new(key, b"v1." + stamp.encode() + b"." + body, sha256).hexdigest()
