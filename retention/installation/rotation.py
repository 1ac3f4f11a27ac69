"""Rotate the installation's root key.

A new key signs, older keys still verify.
"""

import os
import secrets
from typing import TYPE_CHECKING

from sqlalchemy import select

from retention import clock
from retention.db import Transaction
from retention.db.audit import record
from retention.db.tables import SLACK_BOTS, SLACK_INSTALLATIONS, ModelVersion
from retention.encryption import decrypt_bot_token, encrypt_bot_token
from retention.errors import BadInput
from retention.lake import customer_directory
from retention.paths import create_private_file
from retention.registry.store import reseal
from retention.settings import Settings
from retention.text import gettext

if TYPE_CHECKING:
    from retention.lake.customer_directory import Snapshot


def rotate(settings: Settings) -> Settings:
    """Add a new key and use it. It precedes the keys in the home's ``secret.key``."""
    if settings.secret_key.get_secret_value():
        raise BadInput(
            gettext(
                "The key comes from RETENTION_SECRET_KEY; put a new one there (openssl rand "
                "-hex 32), the present one in front of RETENTION_OLD_SECRET_KEYS, start all "
                "processes anew, and run `retention rotate-keys --reseal`."
            )
        )
    path = settings.home / "secret.key"
    old_keys = [key.decode() for key in settings.keys.all]
    new_file = path.with_name(f".secret.key.{secrets.token_hex(4)}")
    with create_private_file(new_file) as file:
        file.write("\n".join([secrets.token_hex(32), *old_keys]))
        file.flush()
        os.fsync(file.fileno())
    new_file.replace(path)
    rotated = settings.model_copy()
    for read in ("key", "keys"):  # cached properties
        rotated.__dict__.pop(read, None)
    return rotated


def reseal_all(directory: "Snapshot", session: Transaction, by: str) -> dict[str, int]:
    """Seal models and hash the directory anew.

    The current key is used. Older ones are still needed for erasures, links and the audit log.

    `directory`: from `customer_directory.read` with the new key.
    `session`, `settings`: the installation after `rotate`.
    Returns: ``models``: number of models sealed; ``customers``: number of changed pseudonyms and
    e-mail hashes; ``connections``: number of connections and sources whose secrets were encrypted
    anew.
    """
    from retention.connect import connections
    from retention.connect.platforms import profile_deletion
    from retention.connect.sources import source_records

    sealed = 0
    for row in session.scalars(session.own(ModelVersion)).all():
        if (seal := reseal(session.settings, row)) is not None:
            row.hmac = seal
            sealed += 1
    counts = {
        "models": sealed,
        "customers": customer_directory.write(session, directory),
        "connections": connections.rotate_all(session) + source_records.rotate_all(session),
    }
    profile_deletion.rotate_all(session)
    _rotate_bot_tokens(session)
    record(session, by, "keys.rotate", session.settings.keys.current_id, clock.now(), dict(counts))
    return counts


def _rotate_bot_tokens(session: Transaction) -> None:
    """Encrypt the tokens of the app in Slack anew with the current key."""
    keys = session.settings.keys
    for table in (SLACK_BOTS, SLACK_INSTALLATIONS):
        columns = (table.c.bot_token, table.c.bot_refresh_token)
        for row_id, *stored in session.execute(select(table.c.id, *columns)).all():
            tokens = [decrypt_bot_token(keys, encrypted or "") for encrypted in stored]
            anew = {
                column: encrypt_bot_token(keys, token)
                for column, token in zip(columns, tokens, strict=True)
                if token
            }
            if anew:
                session.execute(table.update().where(table.c.id == row_id).values(anew))
