"""Keep static lists of customers, which come from files.

A member has the times of joining and leaving, so that a list is known at each moment.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Select, delete, or_, select, update

from retention import clock
from retention.db import Transaction
from retention.db.insert import among
from retention.db.tables import ListMember
from retention.outreach.bounces import Bounce, customer_ids

if TYPE_CHECKING:
    from retention.lake import Lake

UNKNOWN = "unknown"  # outcome of a row that names no customer
BATCH_IDS = 2_000  # ids per statement


def add_members(
    session: Transaction, name: str, rows: Sequence[tuple[str | None, str | None]], kept: set[str]
) -> list[str]:
    """Add the customers of rows to a list; return the outcome of each row.

    `rows`: customer id and e-mail address; one of them is enough, and an address may stand in place
    of an id. `kept`: takes the ids of the rows.
    """
    now, team = clock.now(), session.settings.team_id
    people = [
        Bounce(now, id_, email or (id_ if "@" in (id_ or "") else None)) for id_, email in rows
    ]
    ids = [
        person.customer_id if person.customer_id in found else min(found, default=None)
        for person, found in zip(people, customer_ids(session, people), strict=True)
    ]
    named = dict.fromkeys(id_ for id_ in ids if id_ is not None)
    known = session.scalars(
        _open(session, name).where(among(session, ListMember.customer_id, named))
    )
    session.add_all(
        ListMember(team_id=team, name=name, customer_id=id_, added_at=now)
        for id_ in named.keys() - {*known}
    )
    kept.update(named)
    return [UNKNOWN if id_ is None else "listed" for id_ in ids]


def end_others(session: Transaction, name: str, kept: set[str]) -> None:
    """End the membership of everyone else."""
    gone = sorted({*session.scalars(_open(session, name))} - kept)
    for start in range(0, len(gone), BATCH_IDS):
        batch = among(session, ListMember.customer_id, gone[start : start + BATCH_IDS])
        ended = update(ListMember).where(
            *_own(session, name), batch, ListMember.removed_at.is_(None)
        )
        session.change(ended.values(removed_at=clock.now()))


def remove(session: Transaction, name: str) -> None:
    """Delete a list."""
    session.change(delete(ListMember).where(*_own(session, name)))


def names(session: Transaction) -> list[str]:
    """Return the names of all lists."""
    own = ListMember.team_id == session.settings.team_id
    return list(session.scalars(select(ListMember.name).where(own).distinct()))


def members(lake: "Lake", session: Transaction, name: str, as_of: datetime) -> set[str]:
    """Return the customers of a list at a moment.

    After the newest event, a list counts as it is now: a list that was just imported can be used.
    """
    now = clock.now()
    newest = lake.newest_event(before=now)
    at = as_of if newest is not None and newest >= as_of else now
    query = select(ListMember.customer_id).where(
        *_own(session, name),
        ListMember.added_at <= at,
        or_(ListMember.removed_at.is_(None), ListMember.removed_at > at),
    )
    return set(session.scalars(query))


def _own(session: Transaction, name: str) -> tuple[ColumnElement[bool], ...]:
    return ListMember.team_id == session.settings.team_id, ListMember.name == name


def _open(session: Transaction, name: str) -> Select[str]:
    is_open = ListMember.removed_at.is_(None)
    return select(ListMember.customer_id).where(*_own(session, name), is_open)
