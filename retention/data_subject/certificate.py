"""Certify an erasure: what was erased, where, how many and when, signed with the root key.

A certificate names no customer. With a customer's id, the installation can check whose it is.
"""

import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from retention.errors import BadInput
from retention.keys import Keys, keyed_hash
from retention.text import gettext

FORM = 1
_PURPOSE = "erasure certificate"  # part of the signature: never change it
_SUBJECT = "erased"  # as in the table of erased customers
# What an erasure here cannot reach.
NOT_REACHED = ("earlier backups", "Slack's own history", "files that people downloaded")


def issue(
    keys: Keys,
    ids: Sequence[str],
    rows: Mapping[str, int],
    platforms: Sequence[Mapping[str, Any]],
    *,
    by: str,
    at: datetime,
) -> dict[str, Any]:
    """Return a signed certificate.

    `rows`: number of rows or files by store; stores without the customer count, too.
    """
    content = {
        "form": FORM,
        "key_id": keys.current_id,
        "subjects": sorted(keyed_hash(keys.current, _SUBJECT, each).hex() for each in ids),
        "by": by,
        "at": at.isoformat(),
        "erased": dict(sorted(rows.items())),
        "platforms": [
            {name: each[name] for name in ("name", "kind", "state")} for each in platforms
        ],
        "not_reached": list(NOT_REACHED),
    }
    return {**content, "signature": _signature(keys.current, content)}


def verify(keys: Keys, text: str, customer_id: str | None = None) -> dict[str, Any]:
    """Return a certificate that this installation has signed.

    `customer_id`: must be one of its customers.
    Raises `BadInput`: it is no certificate, was changed, is of another installation, or of others.
    """
    try:
        certificate = json.loads(text)
        signature = certificate.pop("signature")
        key = keys.by_id(certificate["key_id"])
    except (ValueError, KeyError, AttributeError, TypeError):
        raise BadInput(gettext("The file is no certificate of an erasure.")) from None
    if key is None:
        message = gettext(
            "The certificate is signed with the key {key_id}, which this installation does not "
            "have; put that key into RETENTION_OLD_SECRET_KEYS."
        )
        raise BadInput(message.format(key_id=certificate["key_id"]))
    if not hmac.compare_digest(_signature(key, certificate).encode(), str(signature).encode()):
        raise BadInput(gettext("The certificate was changed: its signature does not fit."))
    subjects = certificate["subjects"]
    if customer_id is not None and keyed_hash(key, _SUBJECT, customer_id).hex() not in subjects:
        raise BadInput(gettext("The certificate is of another customer."))
    return dict(certificate)


def _signature(key: bytes, content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return keyed_hash(key, _PURPOSE, text).hex()
