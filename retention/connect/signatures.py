"""Check the signatures of shops' webhooks."""

import base64
import hashlib
import hmac
from collections.abc import Mapping

from retention.connect.contract import ConnectorError


def verify_delivery(
    secret: str, headers: Mapping[str, str], body: bytes, *, signature: str, delivery: str
) -> str:
    """Check a delivery's base64 HMAC-SHA256 of the raw body, and return its id.

    A delivery is accepted at any age: a shop repeats one after an outage with its first time, which
    the signature does not cover. Old content changes nothing that is newer.

    Parameters
    ----------
    secret : str
        Shared secret; without one nothing is accepted.
    headers : mapping
        By lower-case name.
    body : bytes
        As received.
    signature, delivery : str
        Names of the headers with the signature and the delivery's id.

    Raises
    ------
    ConnectorError
        ``access_denied``: the signature is wrong, or there is no id.
    """
    expected = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256))
    given = headers.get(signature, "").encode("utf-8", "replace")
    if not secret or not hmac.compare_digest(expected, given):
        raise ConnectorError("access_denied", "signature")
    delivery_id = headers.get(delivery, "")
    if not delivery_id:
        raise ConnectorError("access_denied", "no delivery id")
    return delivery_id
