"""Hold, create and check the installation's secret keys.

The newest signs, older keys still verify.
"""

import hmac
import os
import re
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from retention.errors import BadInput
from retention.paths import create_private_file, create_private_folder
from retention.text import gettext

_CHARACTERS = 32  # of the text; 32 random bytes in hex have 64
LEAST_CHARACTERS = 16  # earlier versions took any key, so a desk with such a one must start
_KEYED_TABLES = ("directory", "erasures")  # written with a key from the first import on


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
        return key_id(self.all[0])

    def by_id(self, wanted_id: str) -> bytes | None:
        """Return the key with an id. None if it is unknown."""
        return next((key for key in self.all if key_id(key) == wanted_id), None)


_SIGNED = re.compile(r"([0-9a-f]{8})-([0-9]{1,18}(?:-[0-9]{1,18})?)-([0-9a-f]{32})")


def sign_numbers(keys: Keys, purpose: str, *numbers: int) -> str:
    """Return a token for a public link: key id, one or two numbers, signature. It never expires."""
    text = "-".join(map(str, numbers))
    return f"{keys.current_id}-{text}-{_signature(keys.current, purpose, text)}"


def read_numbers(keys: Keys, purpose: str, token: str) -> tuple[int, ...] | None:
    """Return the numbers of a token; None if the signature is invalid."""
    match = _SIGNED.fullmatch(token)
    key = keys.by_id(match[1]) if match else None
    if match is None or key is None:
        return None
    is_valid = hmac.compare_digest(_signature(key, purpose, match[2]), match[3])
    return tuple(map(int, match[2].split("-"))) if is_valid else None


def _signature(key: bytes, purpose: str, text: str) -> str:
    return keyed_hash(key, purpose, text).hex()[:32]


def key_id(key: bytes) -> str:
    """Return eight hexadecimal digits that identify a key. They do not reveal it."""
    return keyed_hash(key, "key id", "").hex()[:8]


def read_or_create_key(home: Path, database_url: str) -> bytes:
    """Return the key in a home's file, which is created once.

    Raises `BadInput`: the key of existing data is missing, or too short.
    """
    path = create_private_folder(home) / "secret.key"
    if not path.exists() and _has_keyed_data(database_url):
        raise BadInput(_missing_key(path))
    try:
        opened = create_private_file(path)
    except FileExistsError:
        return _first_key(path)
    new_key = secrets.token_hex(32)
    try:
        with opened as file:
            file.write(new_key)
            file.flush()
            os.fsync(file.fileno())
    except OSError:  # a full disk would leave an empty key
        path.unlink()
        raise
    return new_key.encode()


def _first_key(path: Path) -> bytes:
    """Return the key in use. Older keys follow it in the file."""
    keys = path.read_text(encoding="ascii").split()
    if not keys:
        raise BadInput(_missing_key(path))
    if not is_long_enough(keys[0]):
        text = gettext(
            "The first key in {path} is too short; put a new one in front of it, of 32 random "
            "bytes (openssl rand -hex 32), and run `retention rotate-keys --reseal`."
        )
        raise BadInput(text.format(path=path))
    return keys[0].encode()


def is_long_enough(key: str, characters: int = _CHARACTERS) -> bool:
    """Return whether a key may hold 32 random bytes, or 24 with the prefix of Standard Webhooks."""
    return len(key.removeprefix("whsec_")) >= characters


def shared_values(key: str) -> list[str]:
    """Return the values of a key that is shared with another system.

    While it is changed, it has a new and an old one, separated by a comma or blanks. A text with
    blanks between short words is one value.
    """
    values = key.replace(",", " ").split()
    is_list = all(is_long_enough(value, LEAST_CHARACTERS) for value in values)
    return values if is_list and values else [key]


def short_key(name: str) -> str:
    """Return what is wrong with the key of a variable."""
    if name == "RETENTION_SECRET_KEY":
        return gettext(
            "{name} is too short; make 32 random bytes with: openssl rand -hex 32. For "
            "existing data, put the present key into RETENTION_OLD_SECRET_KEYS and run: "
            "retention rotate-keys --reseal"
        ).format(name=name)
    text = gettext("{name} is too short; make 32 random bytes with: openssl rand -hex 32")
    return text.format(name=name)


def _missing_key(path: Path) -> str:
    return gettext(
        "{path} is missing or empty, but this home's data was written with a key; bring the key "
        "back from a backup (`retention restore BACKUP` into an empty RETENTION_HOME, then copy "
        "its secret.key here), or set RETENTION_SECRET_KEY. Without it pseudonyms change, models "
        "must be trained again, unsubscribe links stop working, and forgotten customers can "
        "return with an import; to accept this, run `openssl rand -hex 32 > {path}`."
    ).format(path=path, home=path.parent)


def _has_keyed_data(database_url: str) -> bool:
    """Return whether an SQLite database has rows that only their key can check or read."""
    path = Path(database_url.partition("://")[2].removeprefix("/").partition("?")[0])
    if not path.is_file():
        return False
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        return any(
            connection.execute(f"SELECT EXISTS (SELECT 1 FROM {table})").fetchone()[0]  # noqa: S608
            for table in _KEYED_TABLES
            if table in names
        )
