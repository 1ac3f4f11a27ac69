"""The installation's keys by their ids: the newest signs, older ones still check what they signed."""

from dataclasses import dataclass

from retention.privacy import keyed_hash


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
