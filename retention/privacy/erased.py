"""Who was erased: known by keyed hash alone, so that no later file brings them back and nobody can list them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retention.db import Database
from retention.db.insert import insert_once
from retention.db.tables import Erasure
from retention.keys import keyed_hash
from retention.settings import Settings


@dataclass(frozen=True, slots=True)
class Erased:
    """The hashes, by the key that made them."""

    hashes: Mapping[bytes, frozenset[str]] = field(default_factory=dict)

    def among(self, ids: Iterable[str]) -> set[str]:
        """Those of ``ids`` who were erased."""
        return {
            one for one in ids for key, hashes in self.hashes.items() if _hash(key, one) in hashes
        }

    def drop(self, con: Any) -> int:
        """Delete them from the rows that an import has staged; returns how many rows."""
        columns = {row[0] for row in con.execute("DESCRIBE staged").fetchall()}
        gone = 0
        for column in sorted(columns & {"customer_id", "other_id"}) if self.hashes else ():
            query = f"SELECT DISTINCT {column} FROM staged WHERE {column} IS NOT NULL"  # noqa: S608
            ids = con.execute(query).fetchall()
            if out := sorted(self.among(row[0] for row in ids)):
                deleted = con.execute(f"DELETE FROM staged WHERE list_contains(?, {column})", [out])  # noqa: S608
                gone += deleted.fetchall()[0][0]
        return gone


def known(database: Database | None, settings: Settings) -> Erased:
    """Everybody who was erased so far."""
    if database is None:
        return Erased()
    with database.reading() as session:
        rows = session.execute(
            select(Erasure.key_id, Erasure.id_hash).where(Erasure.team_id == settings.team_id)
        ).all()
    found: dict[bytes, set[str]] = {}
    for key_id, id_hash in rows:
        if (key := settings.keys.by_id(key_id)) is not None:
            found.setdefault(key, set()).add(id_hash)
    return Erased({key: frozenset(hashes) for key, hashes in found.items()})


def remember(
    session: Session, settings: Settings, ids: Iterable[str], by: str, now: datetime
) -> None:
    """From now on no import brings these ids back. Again: nothing more."""
    keys = settings.keys
    for one in ids:
        insert_once(
            session,
            Erasure,
            id_hash=_hash(keys.current, one),
            key_id=keys.current_id,
            team_id=settings.team_id,
            by=by,
            at=now,
        )


def _hash(key: bytes, customer_id: str) -> str:
    return keyed_hash(key, "erased", customer_id).hex()
