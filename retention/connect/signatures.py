"""Check the signatures of shops' webhooks."""

import base64
import hashlib
import hmac
from datetime import datetime, timedelta

from retention.connect.contract import ConnectorError
from retention.connect.orders import moment

MAX_AGE = timedelta(minutes=5)


def check_signature(secret: str, body: bytes, signature: str) -> None:
    """Check a base64 HMAC-SHA256 of the raw body.

    Parameters
    ----------
    secret : str
        Shared secret; without one nothing is accepted.
    body : bytes
        As received.
    signature : str
        As received.

    Raises
    ------
    ConnectorError
        ``access_denied``
    """
    expected = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256))
    given = signature.encode("utf-8", "replace")
    if not secret or not hmac.compare_digest(expected, given):
        raise ConnectorError("access_denied", "signature")


def check_age(sent_at: str, now: datetime) -> None:
    """Check that a delivery is at most five minutes old; none if the platform gives no time.

    Parameters
    ----------
    sent_at : str
        ISO time, or empty.
    now : datetime
        Real time.

    Raises
    ------
    ConnectorError
        ``access_denied``
    """
    if not sent_at:
        return
    try:
        age = abs(now - moment(sent_at, "sent_at"))
    except (ConnectorError, OverflowError):
        raise ConnectorError("access_denied", "age") from None
    if age > MAX_AGE:
        raise ConnectorError("access_denied", "age")
