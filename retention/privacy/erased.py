"""Store erased customers as keyed hashes.

Imports use them to skip erased customers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from retention.db import Database, Transaction
from retention.db.insert import insert_once
from retention.db.tables import Erasure
from retention.keys import keyed_hash
from retention.settings import Settings

ERASED_PREFIX = "erased-"  # prefix of the random name of an erased customer


@dataclass(frozen=True, slots=True)
class ErasedCustomers:
    """Hashes of erased customer ids, per key."""

    hashes: Mapping[bytes, frozenset[str]] = field(default_factory=dict)

    def among(self, ids: Iterable[str]) -> set[str]:
        """Return the erased ids among customer ids."""
        return {
            customer_id
            for customer_id in ids
            for key, hashes in self.hashes.items()
            if _hash(key, customer_id) in hashes
        }

    def delete_staged(self, con: Any, table: str = "staged") -> int:
        """Delete staged rows of erased customers; count them."""
        columns = {row[0] for row in con.execute(f"DESCRIBE {table}").fetchall()}
        total = 0
        for column in sorted(columns & {"customer_id", "other_id"}) if self.hashes else ():
            query = f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608
            ids = con.execute(query).fetchall()
            if erased := sorted(self.among(row[0] for row in ids)):
                delete = f"DELETE FROM {table} WHERE list_contains(?, {column})"  # noqa: S608
                total += con.execute(delete, [erased]).fetchall()[0][0]
        return total


def load_erased(database: Database | None, settings: Settings) -> ErasedCustomers:
    """Load the hashes of all erased customers.

    `database`: none gives an empty result.
    """
    if database is None:
        return ErasedCustomers()
    with database.using(settings).reading() as session:
        return erased_customers(session)


def erased_customers(session: Transaction) -> ErasedCustomers:
    """Load the hashes of all erased customers in the caller's transaction."""
    rows = session.execute(
        select(Erasure.key_id, Erasure.id_hash).where(Erasure.team_id == session.settings.team_id)
    ).all()
    hashes: dict[bytes, set[str]] = {}
    for key_id, id_hash in rows:
        if (key := session.settings.keys.by_id(key_id)) is not None:
            hashes.setdefault(key, set()).add(id_hash)
    return ErasedCustomers({key: frozenset(group) for key, group in hashes.items()})


def unrecognised(session: Transaction) -> dict[str, int]:
    """Count the erased customers whom an import can bring back: their key is not here any more."""
    counts = (
        select(Erasure.key_id, func.count())
        .where(Erasure.team_id == session.settings.team_id)
        .group_by(Erasure.key_id)
    )
    keys = session.settings.keys
    rows = session.execute(counts).tuples()
    return {key_id: number for key_id, number in rows if keys.by_id(key_id) is None}


def record_erased(session: Transaction, ids: Iterable[str], by: str, now: datetime) -> None:
    """Store the hashes of erased customers. Idempotent."""
    keys = session.settings.keys
    for customer_id in ids:
        insert_once(
            session,
            Erasure,
            id_hash=_hash(keys.current, customer_id),
            key_id=keys.current_id,
            team_id=session.settings.team_id,
            by=by,
            at=now,
        )


def _hash(key: bytes, customer_id: str) -> str:
    return keyed_hash(key, "erased", customer_id).hex()
