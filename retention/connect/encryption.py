"""Encrypt the secrets of connections.

The key is derived from the installation's root key, so a copy of the database alone reveals no
secret. After a rotation the newest key encrypts and older ones still decrypt.
"""

import json
from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from retention.errors import Refused
from retention.keys import Keys
from retention.text import gettext

_PURPOSE = b"retention: secrets of connections"  # stored data depends on it


def encrypt(keys: Keys, secrets: dict[str, str]) -> bytes:
    """Encrypt the secrets of a connection."""
    return _fernet(keys).encrypt(json.dumps(secrets, sort_keys=True).encode())


def decrypt(keys: Keys, token: bytes) -> dict[str, str]:
    """Decrypt the secrets of a connection."""
    try:
        return dict(json.loads(_fernet(keys).decrypt(token)))
    except InvalidToken:
        message = gettext(
            "The connection's secrets were encrypted with another key; put that key into "
            "RETENTION_OLD_SECRET_KEYS, or enter the secrets again."
        )
        raise Refused(message) from None


def rotate(keys: Keys, token: bytes) -> bytes:
    """Encrypt a token anew with the current key."""
    return _fernet(keys).rotate(token)


def _fernet(keys: Keys) -> MultiFernet:
    return MultiFernet([Fernet(_derived(key)) for key in keys.all])


def _derived(key: bytes) -> bytes:
    derived = HKDF(hashes.SHA256(), length=32, salt=None, info=_PURPOSE).derive(key)
    return urlsafe_b64encode(derived)
