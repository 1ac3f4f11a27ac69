"""Keep accepted live events in SQL until the lake has them.

An event is accepted once it is committed here. `workers.live.live_events` moves the batches into
the lake and deletes them.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import delete, func, select, text

from retention import clock
from retention.db import Transaction
from retention.db.insert import among
from retention.db.tables import EventBatch, EventKey
from retention.privacy.periods import keep

MAX_WAITING = 1_000_000  # events; more are refused until the lake has caught up
MAX_BATCHES = 10_000  # of one round; after a backlog each may be of one event
PRUNED_AT_ONCE = 5_000
OLD = timedelta(days=31)  # before business time; newer events touch at most three months
Kind = Literal[
    "events",
    "old",  # events of the past: each month is a partition of its own, so they wait for each other
    "customers",
    "touched",  # ids of customers whose new events the lake has already: they are only scored
]

# One statement for a thousand keys: a statement per key would take ten times as long.
_REMEMBER = {
    "sqlite": "SELECT :team, value, :day FROM json_each(:keys) WHERE true",
    "postgresql": "SELECT :team, key, CAST(:day AS date) FROM unnest(CAST(:keys AS text[])) AS key",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """How many rows of a call were new, and how many were known."""

    accepted: int
    duplicate: int


def add(
    session: Transaction,
    rows: Sequence[dict[str, Any]],
    keys: Sequence[str],
    kind: Kind = "events",
    earlier_keys: Sequence[str] = (),
) -> Stored:
    """Store rows that were not stored before.

    `rows`: canonical rows, as `retention.connect.live.events.check_rows` returns them.
    `kind`: what the rows are. Of ``events``, those of the past become ``old``.
    """
    known = _known(session, earlier_keys)
    new = _remember(session, keys)
    fresh = []
    for row, key, earlier_key in zip(rows, keys, earlier_keys or keys, strict=True):
        if key in new:
            new.remove(key)  # an equal row of the same call is a duplicate
            if earlier_key not in known:
                fresh.append(row)
    if kind == "events":
        before = int((clock.now() - OLD).timestamp() * 1e6)
        old = [row for row in fresh if row["occurred_at"] < before]
        put(session, old, "old")
        put(session, [row for row in fresh if row["occurred_at"] >= before], kind)
    else:
        put(session, fresh, kind)
    return Stored(len(fresh), len(rows) - len(fresh))


def split_months(
    rows: Sequence[dict[str, Any]], most: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the events of the ``most`` fullest months, and those of the other months."""
    months = [f"{datetime.fromtimestamp(row['occurred_at'] / 1e6, UTC):%Y-%m}" for row in rows]
    fullest = {month for month, _ in Counter(months).most_common(most)}
    chosen = [month in fullest for month in months]
    return (
        [row for row, is_chosen in zip(rows, chosen, strict=True) if is_chosen],
        [row for row, is_chosen in zip(rows, chosen, strict=True) if not is_chosen],
    )


def put(session: Transaction, rows: Sequence[dict[str, Any]], kind: Kind) -> None:
    """Store rows, which may be known."""
    if rows:
        own = {"team_id": session.settings.team_id, "kind": kind}
        session.add(EventBatch(**own, rows=len(rows), body=pack(rows)))


def ndjson(rows: Iterable[dict[str, Any]]) -> bytes:
    """Return rows as one JSON object per line."""
    lines = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    return "\n".join(lines).encode()


def pack(rows: Iterable[dict[str, Any]]) -> bytes:
    """Compress rows as NDJSON."""
    return zlib.compress(ndjson(rows), 1)


def unpack(body: bytes) -> bytes:
    """Return the NDJSON of a stored batch."""
    return zlib.decompress(body)


def waiting(session: Transaction) -> int:
    """Return the number of rows that wait for the lake."""
    rows = session.own(EventBatch).with_only_columns(func.sum(EventBatch.rows))
    return int(session.scalar(rows) or 0)


def oldest_seconds(session: Transaction) -> float:
    """Return how long the oldest batch has waited for the lake; 0 if none waits."""
    oldest_at = session.own(EventBatch).with_only_columns(func.min(EventBatch.received_at))
    at = session.scalar(oldest_at)
    return max(0.0, (clock.wall() - at).total_seconds()) if at else 0.0


def oldest(session: Transaction, kind: Kind, most_rows: int) -> list[EventBatch]:
    """Return the batches that the lake gets next, oldest first.

    `most_rows`: further batches wait; at least one is returned, and at most `MAX_BATCHES`.
    """
    own = EventBatch.team_id == session.settings.team_id, EventBatch.kind == kind
    sizes = select(EventBatch.id, EventBatch.rows).where(*own).order_by(EventBatch.id)
    ids, total = list[int](), 0
    for batch_id, rows in session.execute(sizes.limit(min(most_rows, MAX_BATCHES))):
        total += rows
        if ids and total > most_rows:
            break
        ids.append(batch_id)
    if not ids:
        return []
    # The ids need not be contiguous: another kind's batches lie between them.
    chosen = select(EventBatch).where(*own, EventBatch.id.between(ids[0], ids[-1]))
    batches = {batch.id: batch for batch in session.scalars(chosen)}
    return [batches[batch_id] for batch_id in ids if batch_id in batches]


def remove(session: Transaction, batches: Sequence[EventBatch]) -> bool:
    """Delete batches that the lake has."""
    ours = among(session, EventBatch.id, [batch.id for batch in batches])
    return session.change(delete(EventBatch).where(ours)) == len(batches)


def prune_keys(session: Transaction) -> int:
    """Forget some of the old keys; return their number."""
    before = (clock.wall() - keep("event_keys")).date()
    own = EventKey.team_id == session.settings.team_id
    old = select(EventKey.key).where(own, EventKey.day < before).limit(PRUNED_AT_ONCE)
    return session.change(delete(EventKey).where(own, EventKey.key.in_(old)))


def _known(session: Transaction, keys: Sequence[str]) -> set[str]:
    """Return those of some keys that are stored."""
    if not keys:
        return set()
    stored = session.own(EventKey).with_only_columns(EventKey.key)
    return set(session.scalars(stored.where(among(session, EventKey.key, list(keys)))))


def _remember(session: Transaction, keys: Sequence[str]) -> set[str]:
    """Store keys; return those that were not known."""
    if not keys:
        return set()
    dialect = session.get_bind().dialect.name
    # Sorted: two transactions with the same keys then cannot wait for each other.
    unique = sorted(set(keys))
    result = session.execute(
        text(
            "INSERT INTO event_keys (team_id, key, day) "
            f"{_REMEMBER[dialect]} ON CONFLICT (team_id, key) DO NOTHING RETURNING key"
        ),
        {
            "team": session.settings.team_id,
            "day": clock.wall().date().isoformat(),
            "keys": json.dumps(unique) if dialect == "sqlite" else unique,
        },
    )
    return {key for (key,) in result}
