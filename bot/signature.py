"""Verify that a request comes from Slack.

Slack signs each request with HMAC-SHA256 over ``v0:{timestamp}:{body}``
(https://docs.slack.dev/authentication/verifying-requests-from-slack/). slack_bolt's own
verifier raises on malformed headers and logs the body of unsigned requests. So requests are
verified here first.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping

TIMESTAMP_HEADER = "x-slack-request-timestamp"
SIGNATURE_HEADER = "x-slack-signature"
MAX_AGE_SECONDS = 300  # Slack's recommendation against replays

_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"v0=[0-9a-f]{64}", re.ASCII)


def has_valid_form(headers: Mapping[str, str], now: float) -> bool:
    """Check signature headers and age of a request.

    Parameters
    ----------
    headers : mapping of str to str
        By lower-case name.
    now : float
        Real time in seconds since 1970.

    Returns
    -------
    bool
    """
    timestamp = headers.get(TIMESTAMP_HEADER, "")
    if not _TIMESTAMP.fullmatch(timestamp) or not _SIGNATURE.fullmatch(
        headers.get(SIGNATURE_HEADER, "")
    ):
        return False
    return abs(now - int(timestamp)) <= MAX_AGE_SECONDS


def is_verified(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Check Slack's signature of a recent request.

    Its age is at most five minutes.

    Parameters
    ----------
    secret : str
        The app's signing secret. An empty one verifies nothing.
    headers : mapping of str to str
        By lower-case name.
    body : bytes
        The received body.
    now : float
        Real time in seconds since 1970.

    Returns
    -------
    bool
    """
    if not secret or not has_valid_form(headers, now):
        return False
    signed = b"v0:" + headers[TIMESTAMP_HEADER].encode() + b":" + body
    expected = "v0=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, headers[SIGNATURE_HEADER])
