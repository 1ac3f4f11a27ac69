"""Encrypt a backup in age's format, to a passphrase or to a recipient's public key.

Any age program opens it: ``age --decrypt BACKUP | tar -xz``.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyrage

from retention.errors import BadInput
from retention.text import gettext

_AGE, _PASSPHRASE = b"age-encryption.org/v1\n", b"-> scrypt "
_LEAST_CHARACTERS = 12
_ERRORS = (pyrage.IdentityError, pyrage.DecryptError, UnicodeDecodeError)


@dataclass(frozen=True, slots=True)
class BackupKey:
    """What encrypts or opens a backup: a passphrase, a recipient, or a file with identities."""

    passphrase: str = field(default="", repr=False)
    recipient: str = ""
    identity: Path | None = None


def protection(source: Path) -> Literal["", "passphrase", "recipient"]:
    """Return what opens a file. Empty if it is not encrypted."""
    with source.open("rb") as file:
        head = file.read(len(_AGE + _PASSPHRASE))
    if not head.startswith(_AGE):
        return ""
    return "passphrase" if head.endswith(_PASSPHRASE) else "recipient"


def check(key: BackupKey) -> None:
    """Check a recipient or a passphrase before the work starts."""
    if key.recipient:
        _recipient(key.recipient)
    elif len(key.passphrase) < _LEAST_CHARACTERS:
        text = gettext("The passphrase is too short; use at least {characters} characters.")
        raise BadInput(text.format(characters=_LEAST_CHARACTERS), field="passphrase")


def encrypt(plain: Path, target: Path, key: BackupKey) -> None:
    """Encrypt a file. With a passphrase, its content is in memory twice."""
    if key.recipient:
        with plain.open("rb") as content, target.open("wb") as encrypted:
            pyrage.encrypt_io(content, encrypted, [_recipient(key.recipient)])
    else:
        target.write_bytes(pyrage.passphrase.encrypt(plain.read_bytes(), key.passphrase))


def decrypt(source: Path, plain: Path, key: BackupKey) -> None:
    """Decrypt a file.

    Raises `BadInput`: the passphrase or the identities do not open it, or it is damaged.
    """
    try:
        if protection(source) == "passphrase":
            plain.write_bytes(pyrage.passphrase.decrypt(source.read_bytes(), key.passphrase))
        else:
            with source.open("rb") as encrypted, plain.open("wb") as content:
                pyrage.decrypt_io(encrypted, content, _identities(key.identity, source))
    except (*_ERRORS, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # it has none if the file was cut short
            raise
        text = gettext(
            "{source} does not open with this passphrase or identity file, or it is damaged; "
            "nothing was restored."
        )
        raise BadInput(text.format(source=source)) from None


def _recipient(text: str) -> pyrage.x25519.Recipient:
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        sentence = gettext(
            "The recipient of the backup is {recipient!r}; write the public key of age-keygen, "
            "like age1…."
        )
        raise BadInput(sentence.format(recipient=text), field="recipient") from None


def _identities(file: Path | None, source: Path) -> list[pyrage.x25519.Identity]:
    if file is None:
        text = gettext("{source} is encrypted to an age recipient; name its key with --identity.")
        raise BadInput(text.format(source=source), field="identity")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        text = gettext("{file} cannot be read: {error}.")
        raise BadInput(text.format(file=file, error=error.strerror), field="identity") from None
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return [pyrage.x25519.Identity.from_str(key) for key in keys]
