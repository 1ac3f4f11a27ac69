"""The installation's secret keys: the newest signs, older ones still verify what they signed."""

import hmac
from dataclasses import dataclass
from hashlib import sha256


def keyed_hash(key: bytes, purpose: str, value: str) -> bytes:
    """Compute HMAC-SHA256 of a value for one purpose: hashes for two purposes cannot be joined.

    Parameters
    ----------
    key : bytes
        One of the installation's keys.
    purpose : str
        Part of the hash. Stored data depends on it, so it must never change.
    value : str
        Hashed as UTF-8.
    """
    return hmac.new(key, f"{purpose}\x1f{value}".encode(), sha256).digest()


@dataclass(frozen=True, slots=True)
class Keys:
    """``all[0]`` is the current key; the others are those it replaced, the newest first."""

    all: tuple[bytes, ...]

    @property
    def current(self) -> bytes:
        """The key that signs."""
        return self.all[0]

    @property
    def current_id(self) -> str:
        """Its id."""
        return key_id(self.all[0])

    def by_id(self, wanted: str) -> bytes | None:
        """The key of an id; None where we have none of it (any more)."""
        return next((key for key in self.all if key_id(key) == wanted), None)


def key_id(key: bytes) -> str:
    """Eight hexadecimal digits that name a key and tell nothing of it."""
    return keyed_hash(key, "key id", "").hex()[:8]
