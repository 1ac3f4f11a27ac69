"""Keep static lists of customers, which come from files.

A member has the times of joining and leaving, so that a list is known at each moment.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, or_, select, update

from retention import clock
from retention.db import Transaction
from retention.db.insert import among
from retention.db.tables import ListMember
from retention.outreach.bounces import Bounce, customer_ids

if TYPE_CHECKING:
    from retention.lake import Lake

ADDED, REPEATED, UNKNOWN = "added", "repeated", "unknown"  # outcomes of a row


def add_members(
    session: Transaction, name: str, rows: Sequence[tuple[str | None, str | None]], kept: set[str]
) -> list[str]:
    """Add the customers of rows to a list; return the outcome of each row.

    `rows`: customer id and e-mail address; one of them is enough, and an address may stand in place
    of an id. `kept`: takes the ids of the rows.
    """
    now = clock.now()
    people = [
        Bounce(now, id_, email or (id_ if id_ and "@" in id_ else None)) for id_, email in rows
    ]
    ids = [
        min(found, key=lambda id_: (id_ != person.customer_id, id_)) if found else None
        for person, found in zip(people, customer_ids(session, people), strict=True)
    ]
    open_rows = _open(session, name).where(among(session, ListMember.customer_id, {*ids} - {None}))
    known = set(session.scalars(open_rows))
    outcomes = []
    for id_ in ids:
        outcomes.append(UNKNOWN if id_ is None else REPEATED if id_ in known else ADDED)
        if outcomes[-1] == ADDED:
            session.add(_member(session, name, str(id_), now))
        known |= {str(id_)}
    kept |= known
    return outcomes


def _member(session: Transaction, name: str, customer_id: str, now: datetime) -> ListMember:
    team = session.settings.team_id
    return ListMember(team_id=team, name=name, customer_id=customer_id, added_at=now)


def end_others(session: Transaction, name: str, kept: set[str]) -> int:
    """End the membership of everyone else; return how many they were."""
    gone = set(session.scalars(_open(session, name))) - kept
    ended = update(ListMember).where(
        *_own(session, name),
        ListMember.removed_at.is_(None),
        among(session, ListMember.customer_id, gone),
    )
    return session.change(ended.values(removed_at=clock.now()))


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


def _own(session: Transaction, name: str) -> tuple:
    return (
        ListMember.team_id == session.settings.team_id,
        func.lower(ListMember.name) == name.lower(),
    )


def _open(session: Transaction, name: str):
    own = _own(session, name)
    return select(ListMember.customer_id).where(*own, ListMember.removed_at.is_(None))
