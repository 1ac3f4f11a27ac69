"""Hold the installation's secret keys.

The newest signs, older keys still verify.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256


def keyed_hash(key: bytes, purpose: str, value: str) -> bytes:
    """Compute HMAC-SHA256 of a value for one purpose.

    Hashes for two purposes cannot be joined.

    `purpose`: part of the hash. Stored data depends on it, so it must never change.
    `value`: hashed as UTF-8.
    """
    return hmac.new(key, f"{purpose}\x1f{value}".encode(), sha256).digest()


@dataclass(frozen=True, slots=True)
class Keys:
    """Secret keys, newest first. ``all[0]`` signs, the others only verify."""

    all: tuple[bytes, ...]

    @property
    def current(self) -> bytes:
        """The key that signs."""
        return self.all[0]

    @property
    def current_id(self) -> str:
        """The id of the current key."""
        return key_id(self.all[0])

    def by_id(self, wanted_id: str) -> bytes | None:
        """Return the key with an id. None if it is unknown."""
        return next((key for key in self.all if key_id(key) == wanted_id), None)


def key_id(key: bytes) -> str:
    """Return eight hexadecimal digits that identify a key. They do not reveal it."""
    return keyed_hash(key, "key id", "").hex()[:8]
