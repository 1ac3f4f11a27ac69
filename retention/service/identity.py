"""Verify which customer writes: the shop's server signs the customer's id and a time."""

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Annotated

from pydantic import Field

from retention.keys import shared_values

MAX_LIFETIME = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a page says of its visitor. ``expires``: seconds since 1970."""

    customer: Annotated[str, Field(min_length=1, max_length=255)]
    expires: Annotated[int, Field(ge=0, le=10**11)]
    signature: Annotated[str, Field(max_length=64)]


def sign(secret: str, customer: str, expires: int) -> str:
    """Return the signature of a customer until a time: hex of HMAC-SHA256 over ``TIME:ID``."""
    return hmac.new(secret.encode(), f"{expires}:{customer}".encode(), sha256).hexdigest()


def is_valid(secret: str, identity: Identity, now: datetime) -> bool:
    """Return whether the shop signed this customer, for at most a day, and the time is not over."""
    left = identity.expires - now.timestamp()
    is_signed = any(
        hmac.compare_digest(
            identity.signature.encode(), sign(one, identity.customer, identity.expires).encode()
        )
        for one in shared_values(secret)
    )
    return is_signed and 0 < left <= MAX_LIFETIME.total_seconds()
