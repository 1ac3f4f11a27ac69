"""Publish customers' scores and audiences for other systems, and read them.

A snapshot is written in parts and counts once it is complete, so a reader never sees half of one.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Select, delete, func, insert, select

from retention import clock
from retention.db import Database, Transaction
from retention.db.tables import AudienceMember, DirectoryEntry, LiveScore, Profile, ProfileSnapshot

CHUNK = 5_000  # rows of one transaction: other writers wait for it on SQLite
KEPT = 2  # snapshots; a reader may still page through the one before


def write_snapshot(
    database: Database,
    job_id: str,
    as_of: datetime,
    model_version: str,
    profiles: Iterable[Mapping[str, Any]],
    audiences: Mapping[str, Iterable[str]],
) -> int:
    """Write a snapshot, which is not yet complete.

    Parts of an earlier attempt of the same job are deleted first.

    `model_version`: model of the scores, or ``rules``.
    `profiles`: columns of `Profile` without the snapshot.
    Returns: its id; see `complete`.
    """
    own = {"team_id": database.settings.team_id, "job_id": job_id}
    with database.transaction() as session:
        session.execute(delete(ProfileSnapshot).filter_by(**own, completed_at=None))
        snapshot = ProfileSnapshot(**own, as_of=as_of, model_version=model_version)
        session.add(snapshot)
        session.flush()
        snapshot_id = snapshot.id
    common = {"snapshot_id": snapshot_id, "team_id": database.settings.team_id}
    count = _write(database, Profile, ({**common, **profile} for profile in profiles))
    members = (
        {**common, "audience": name, "customer_id": customer}
        for name, customers in audiences.items()
        for customer in customers
    )
    _write(database, AudienceMember, members)
    with database.transaction() as session:
        session.get_one(ProfileSnapshot, snapshot_id).customers = count
    return snapshot_id


def complete(session: Transaction, snapshot_id: int) -> None:
    """Make a snapshot the one that others read, and delete old ones."""
    snapshot = session.get_one(ProfileSnapshot, snapshot_id)
    snapshot.completed_at = clock.wall()
    session.flush()
    kept = [snapshot.id for snapshot in session.scalars(_newest(session).limit(KEPT))]
    own = ProfileSnapshot.team_id == session.settings.team_id
    is_old = (own, ProfileSnapshot.id.not_in(kept))
    for table in (Profile, AudienceMember):
        old = select(ProfileSnapshot.id).where(*is_old)
        session.execute(delete(table).where(table.snapshot_id.in_(old)))
    session.execute(delete(ProfileSnapshot).where(*is_old))


def newest_snapshot(session: Transaction) -> ProfileSnapshot | None:
    """Return the newest complete snapshot."""
    return session.scalar(_newest(session).limit(1))


def _newest(session: Transaction) -> Select[ProfileSnapshot]:
    """Select complete snapshots, the newest first."""
    complete = session.own(ProfileSnapshot).where(ProfileSnapshot.completed_at.is_not(None))
    return complete.order_by(ProfileSnapshot.completed_at.desc())


def customer_profile(session: Transaction, customer_id: str) -> dict[str, Any] | None:
    """Return a customer's newest scores.

    A merged id is answered under the id that the customer has now. A live score replaces an older
    one of the snapshot.

    Returns: none for an unknown customer. ``risk`` is None for one without scores, e.g. because the
    last order is too long ago.
    """
    entry = session.get(DirectoryEntry, (session.settings.team_id, customer_id))
    if entry is None:
        return None
    customer = entry.canonical_id or customer_id
    snapshot = newest_snapshot(session)
    profile = session.get(Profile, (snapshot.id, customer)) if snapshot else None
    live = session.get(LiveScore, (session.settings.team_id, customer))
    own = {"snapshot_id": snapshot.id if snapshot else 0, "customer_id": customer}
    audiences = select(AudienceMember.audience).filter_by(**own).order_by(AudienceMember.audience)
    answer: dict[str, Any] = {
        "customer_id": customer,
        "as_of": None,
        "model_version": None,
        "risk": None,
        "expected_value": None,
        "next_order_at": _iso(profile.next_order_at) if profile else None,
        "recommended_items": list(profile.items) if profile else [],
        "audiences": list(session.scalars(audiences)),
    }
    scores: Profile | LiveScore | None = profile
    source: ProfileSnapshot | LiveScore | None = snapshot
    if live and (profile is None or snapshot is None or live.as_of > snapshot.as_of):
        scores = source = live
    if scores and source:
        answer["as_of"], answer["model_version"] = _iso(source.as_of), source.model_version
        risk = {"tier": scores.tier, "churn_probability": scores.churn_probability}
        answer["risk"], answer["expected_value"] = risk, scores.expected_value
    return answer


def audience_page(
    session: Transaction, snapshot: ProfileSnapshot, audience: str, after: str, limit: int
) -> tuple[int, list[str]]:
    """Return an audience's size, and some members in the order of their ids."""
    members = (AudienceMember.snapshot_id == snapshot.id, AudienceMember.audience == audience)
    total = session.scalar(select(func.count()).select_from(AudienceMember).where(*members)) or 0
    page = session.scalars(
        select(AudienceMember.customer_id)
        .where(*members, AudienceMember.customer_id > after)
        .order_by(AudienceMember.customer_id)
        .limit(limit)
    ).all()
    return total, list(page)


def _write(
    database: Database, table: type[Profile | AudienceMember], rows: Iterable[dict[str, Any]]
) -> int:
    waiting, count = iter(rows), 0
    while chunk := list(islice(waiting, CHUNK)):
        with database.transaction() as session:
            session.execute(insert(table), chunk)
        count += len(chunk)
    return count


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
