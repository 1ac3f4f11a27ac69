"""Make, check and revoke keys of the read API."""

import hmac
import re
import secrets
from hashlib import sha256

from sqlalchemy import Select

from retention import clock
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import ApiKey
from retention.errors import BadInput, Conflict
from retention.text import gettext

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_FORM = re.compile(r"rk_([0-9a-f]{12})_([0-9A-Za-z_-]{43})")


def add(session: Transaction, name: str, by: str) -> str:
    """Make a key.

    Returns: the key, which can never be shown again.
    """
    if not _NAME.fullmatch(name):
        message = gettext(
            "{name!r} cannot name a key; use small letters, digits and -, at most 40 characters, "
            "such as data-warehouse."
        )
        raise BadInput(message.format(name=name), field="name")
    if session.scalar(_valid(session, name=name)) is not None:
        message = gettext(
            "There is a key {name!r} already; revoke it first, or choose another name."
        )
        raise Conflict(message.format(name=name))
    # 256 random bits cannot be guessed, so one round of SHA-256 is enough.
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    team_id, now = session.settings.team_id, clock.now()
    stored = ApiKey(id=key_id, team_id=team_id, name=name, created_by=by, created_at=now)
    stored.secret_hash = _hash(secret)
    session.add(stored)
    record(session, by, "key.add", name, clock.now(), {"id": key_id})
    return f"rk_{key_id}_{secret}"


def revoke(session: Transaction, name: str, by: str) -> ApiKey:
    """Revoke a key. It is refused from the next call on."""
    key = session.scalar(_valid(session, name=name))
    if key is None:
        message = gettext("There is no valid key {name!r}; `retention keys list` shows all.")
        raise BadInput(message.format(name=name))
    key.revoked_at = clock.now()
    record(session, by, "key.revoke", name, clock.now(), {"id": key.id})
    return key


def keys(session: Transaction) -> list[ApiKey]:
    """Return all keys, revoked ones included, by age."""
    return list(session.scalars(session.own(ApiKey).order_by(ApiKey.created_at)))


def has_keys(session: Transaction) -> bool:
    """Return whether a valid key exists."""
    return session.scalar(_valid(session).limit(1)) is not None


def verified(session: Transaction, authorization: str) -> ApiKey | None:
    """Return the valid key of an ``Authorization`` header.

    `authorization`: such as ``Bearer rk_…``.
    """
    scheme, _, typed = authorization.partition(" ")
    form = _FORM.fullmatch(typed.strip())
    if scheme.lower() != "bearer" or form is None:
        return None
    key = session.scalar(_valid(session, id=form[1]))
    if key is None or not hmac.compare_digest(key.secret_hash, _hash(form[2])):
        return None
    return key


def _valid(session: Transaction, **values: str) -> Select[ApiKey]:
    return session.own(ApiKey, revoked_at=None, **values)


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()
