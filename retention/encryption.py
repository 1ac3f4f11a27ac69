"""Encrypt secrets that the database holds.

The key is derived from the installation's root key, so a copy of the database alone reveals no
secret. After a rotation the newest key encrypts and older ones still decrypt.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import partial

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from retention.errors import Refused
from retention.keys import Keys
from retention.text import gettext

# Stored data depends on these.
_CONNECTIONS = b"retention: secrets of connections"
_BOT_TOKENS = b"retention: bot tokens"
_BOUND_TO = "bound to"


def encrypt(keys: Keys, secrets: Mapping[str, str], place: Mapping[str, str]) -> bytes:
    """Encrypt secrets for one place.

    `place`: where they may be sent, such as address and kind of platform. Who can write the
    database cannot have them sent elsewhere.
    """
    bound = {**secrets, _BOUND_TO: json.dumps({**place}, sort_keys=True)}
    return _fernet(keys).encrypt(json.dumps(bound, sort_keys=True).encode())


def decrypt(keys: Keys, token: bytes, place: Mapping[str, str]) -> dict[str, str]:
    """Decrypt secrets of a place as it is stored now.

    Raises `Refused`: the key is another one, or the place was changed.
    """
    try:
        secrets = dict(json.loads(_fernet(keys).decrypt(token)))
    except InvalidToken:
        message = gettext(
            "The connection's secrets were encrypted with another key; put that key into "
            "RETENTION_OLD_SECRET_KEYS, or enter the secrets again."
        )
        raise Refused(message) from None
    if json.loads(secrets.pop(_BOUND_TO, "null")) != {**place}:
        message = gettext(
            "The secrets do not belong to this address: it was changed outside the desk, or their "
            "key was missing during an upgrade. Enter the secrets again."
        )
        raise Refused(message)
    return secrets


def bind(keys: Keys, token: bytes, place: Mapping[str, str]) -> bytes:
    """Bind secrets that an earlier version encrypted. Those of a lost key stay as they are."""
    try:
        secrets = dict(json.loads(_fernet(keys).decrypt(token)))
    except InvalidToken:
        return token
    return token if _BOUND_TO in secrets else encrypt(keys, secrets, place)


def rotate(keys: Keys, token: bytes) -> bytes:
    """Encrypt a token anew with the current key. One of a lost key stays as it is."""
    try:
        return _fernet(keys).rotate(token)
    except InvalidToken:
        return token


def encrypt_bot_token(keys: Keys, bot_token: str) -> str:
    """Encrypt the token of the app in Slack."""
    return _fernet(keys, _BOT_TOKENS).encrypt(bot_token.encode()).decode()


def decrypt_bot_token(keys: Keys, encrypted: str) -> str | None:
    """Decrypt the token of the app in Slack. None if another key encrypted it."""
    try:
        return _fernet(keys, _BOT_TOKENS).decrypt(encrypted).decode()
    except InvalidToken:
        return None


def _fernet(keys: Keys, purpose: bytes = _CONNECTIONS) -> MultiFernet:
    derive = partial(HKDF, hashes.SHA256(), length=32, salt=None, info=purpose)
    return MultiFernet([Fernet(urlsafe_b64encode(derive().derive(key))) for key in keys.all])
