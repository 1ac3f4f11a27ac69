"""Check the signatures of shops' webhooks."""

import base64
import hashlib
import hmac

from retention.connect.contract import ConnectorError


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
