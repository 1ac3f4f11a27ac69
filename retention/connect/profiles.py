"""Publish customers' scores and audiences for other systems, and read them.

A snapshot is written in parts and counts once it is complete, so a reader never sees half of one.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from retention import clock
from retention.db import Database
from retention.db.tables import (
    AudienceMember,
    DirectoryEntry,
    LiveScore,
    Profile,
    ProfileSnapshot,
)
from retention.settings import Settings

CHUNK = 5_000  # rows of one transaction: other writers wait for it on SQLite
KEPT = 2  # snapshots; a reader may still page through the one before


def write_snapshot(
    database: Database,
    settings: Settings,
    job_id: str,
    as_of: datetime,
    model_version: str,
    profiles: Iterable[Mapping[str, Any]],
    audiences: Mapping[str, Iterable[str]],
) -> int:
    """Write a snapshot, which is not yet complete.

    Parts of an earlier attempt of the same job are deleted first.

    Parameters
    ----------
    database : Database
    settings : Settings
    job_id : str
        The job that writes it.
    as_of : datetime
        Cutoff of the scores.
    model_version : str
        Model of the scores, or ``rules``.
    profiles : iterable of dict
        Columns of `Profile` without the snapshot.
    audiences : mapping of str to iterable of str
        Customers of each audience.

    Returns
    -------
    int
        Its id; see `complete`.
    """
    with database.transaction() as session:
        session.execute(
            delete(ProfileSnapshot).where(
                ProfileSnapshot.team_id == settings.team_id,
                ProfileSnapshot.job_id == job_id,
                ProfileSnapshot.completed_at.is_(None),
            )
        )
        snapshot = ProfileSnapshot(
            team_id=settings.team_id, as_of=as_of, model_version=model_version, job_id=job_id
        )
        session.add(snapshot)
        session.flush()
        snapshot_id = snapshot.id
    common = {"snapshot_id": snapshot_id, "team_id": settings.team_id}
    rows = ({**common, **profile} for profile in profiles)
    count = _write(database, Profile, rows)
    members = (
        {**common, "audience": name, "customer_id": customer}
        for name, customers in audiences.items()
        for customer in customers
    )
    _write(database, AudienceMember, members)
    with database.transaction() as session:
        found = session.get_one(ProfileSnapshot, snapshot_id)
        found.customers = count
    return snapshot_id


def complete(session: Session, settings: Settings, snapshot_id: int) -> None:
    """Make a snapshot the one that others read, and delete old ones."""
    snapshot = session.get_one(ProfileSnapshot, snapshot_id)
    snapshot.completed_at = clock.wall()
    session.flush()
    kept = select(ProfileSnapshot.id).where(
        ProfileSnapshot.team_id == settings.team_id, ProfileSnapshot.completed_at.is_not(None)
    )
    newest = session.scalars(kept.order_by(ProfileSnapshot.completed_at.desc()).limit(KEPT)).all()
    old = select(ProfileSnapshot.id).where(
        ProfileSnapshot.team_id == settings.team_id, ProfileSnapshot.id.not_in(newest)
    )
    for table in (Profile, AudienceMember):
        session.execute(delete(table).where(table.snapshot_id.in_(old)))
    session.execute(
        delete(ProfileSnapshot).where(
            ProfileSnapshot.team_id == settings.team_id, ProfileSnapshot.id.not_in(newest)
        )
    )


def newest_snapshot(session: Session, settings: Settings) -> ProfileSnapshot | None:
    """Return the newest complete snapshot."""
    return session.scalar(
        select(ProfileSnapshot)
        .where(
            ProfileSnapshot.team_id == settings.team_id,
            ProfileSnapshot.completed_at.is_not(None),
        )
        .order_by(ProfileSnapshot.completed_at.desc())
        .limit(1)
    )


def customer_profile(
    session: Session, settings: Settings, customer_id: str
) -> dict[str, Any] | None:
    """Return a customer's newest scores.

    A merged id is answered under the id that the customer has now. A live score replaces an older
    one of the snapshot.

    Parameters
    ----------
    session : Session
    settings : Settings
    customer_id : str

    Returns
    -------
    dict or None
        None for an unknown customer. ``risk`` is None for one without scores, e.g. because the
        last order is too long ago.
    """
    entry = session.get(DirectoryEntry, (settings.team_id, customer_id))
    if entry is None:
        return None
    customer = entry.canonical_id or customer_id
    snapshot = newest_snapshot(session, settings)
    profile = session.get(Profile, (snapshot.id, customer)) if snapshot else None
    live = session.get(LiveScore, (settings.team_id, customer))
    audiences = (
        session.scalars(
            select(AudienceMember.audience)
            .where(
                AudienceMember.snapshot_id == snapshot.id, AudienceMember.customer_id == customer
            )
            .order_by(AudienceMember.audience)
        ).all()
        if snapshot
        else []
    )
    answer: dict[str, Any] = {
        "customer_id": customer,
        "as_of": None,
        "model_version": None,
        "risk": None,
        "expected_value": None,
        "next_order_at": _iso(profile.next_order_at) if profile else None,
        "recommended_items": list(profile.items) if profile else [],
        "audiences": list(audiences),
    }
    if live is not None and (profile is None or snapshot is None or live.as_of > snapshot.as_of):
        return answer | _scores(live, live.as_of, live.model_version)
    if profile is not None and snapshot is not None:
        return answer | _scores(profile, snapshot.as_of, snapshot.model_version)
    return answer


def _scores(row: Profile | LiveScore, as_of: datetime, version: str) -> dict[str, Any]:
    return {
        "as_of": _iso(as_of),
        "model_version": version,
        "risk": {"tier": row.tier, "churn_probability": row.churn_probability},
        "expected_value": row.expected_value,
    }


def audience_page(
    session: Session, snapshot: ProfileSnapshot, audience: str, after: str, limit: int
) -> tuple[int, list[str]]:
    """Return an audience's size, and some members in the order of their ids.

    Parameters
    ----------
    session : Session
    snapshot : ProfileSnapshot
    audience : str
    after : str
        Only later ids.
    limit : int
        Largest number of members.
    """
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
