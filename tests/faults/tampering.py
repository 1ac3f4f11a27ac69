"""Someone with the database's password changes the audit log, and its check must name the place.

First the triggers are in place: the database must refuse. Then they are gone, and entries or links
are changed, removed, swapped, added or written anew. Lost: a change that was not refused, or that
the check does not name.
"""

import random
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from retention import clock
from retention.db import Database, Transaction, audit_chain
from retention.db.audit import record
from retention.db.tables import Audit, AuditLink
from tests.faults import killed_jobs
from tests.faults.frame import Counts
from tests.retention.db.test_audit_chain import tamper
from tests.world import change

ENTRIES = 40
NAMES = ("team_id", "actor", "action", "subject")
TIMES = ("at", "wall_at")
LINK_NAMES = ("before", "hash", "key_id", "signature")

Tampering = Callable[[Transaction, random.Random, int], set[int]]


def _change_entry(session: Transaction, chance: random.Random, entry: int) -> set[int]:
    other = {
        **dict.fromkeys(NAMES, "other"),
        **{name: clock.wall() for name in TIMES},
        "details": {"n": -1},
    }
    name = chance.choice(list(other))
    session.execute(update(Audit).where(Audit.id == entry).values({name: other[name]}))
    return {entry}


def _remove_entry(session: Transaction, _: random.Random, entry: int) -> set[int]:
    session.execute(delete(Audit).where(Audit.id == entry))
    return {entry}


def _change_link(session: Transaction, chance: random.Random, entry: int) -> set[int]:
    name = chance.choice(LINK_NAMES)
    other = f"{chance.getrandbits(32):08x}"
    session.execute(update(AuditLink).where(AuditLink.audit_id == entry).values({name: other}))
    return {entry, entry + 1} if name != "key_id" else {entry, 0}


def _remove_with_link(session: Transaction, _: random.Random, entry: int) -> set[int]:
    session.execute(delete(Audit).where(Audit.id == entry))
    session.execute(delete(AuditLink).where(AuditLink.audit_id == entry))
    return {entry + 1}


def _swap(session: Transaction, chance: random.Random, entry: int) -> set[int]:
    """Let two links change places."""
    other = chance.choice([each for each in range(1, ENTRIES + 1) if each != entry])
    for of, number in ((entry, -1), (other, entry), (entry, other)):
        here = AuditLink.id == (-1 if number == other else of)
        session.execute(update(AuditLink).where(here).values(id=number))
    return {entry, other, entry + 1, other + 1}


def _add(session: Transaction, _: random.Random, entry: int) -> set[int]:
    now = clock.wall()
    values = {"id": ENTRIES + entry, "team_id": "T", "actor": "U", "action": "a", "subject": "s"}
    session.execute(insert(Audit).values(values | {"details": {}, "at": now, "wall_at": now}))
    return {ENTRIES + entry}


def _write_anew(session: Transaction, chance: random.Random, entry: int) -> set[int]:
    """Change an entry and make all hashes from there on fit, as one can without the key."""
    _change_entry(session, chance, entry)
    session.expire_all()
    links = {link.audit_id: link for link in session.scalars(select(AuditLink))}
    before = links[entry].before
    for own in session.scalars(select(Audit).where(Audit.id >= entry).order_by(Audit.id)):
        links[own.id].before = before
        before = links[own.id].hash = audit_chain._hash(before, own)
    session.flush()
    return {entry}


TAMPERINGS: tuple[Tampering, ...] = (
    *(_change_entry, _remove_entry, _change_link, _remove_with_link, _swap, _add, _write_anew),
)


class _Undo(Exception):
    """Let the log be as it was."""


def count_row(injections: int, seed: int) -> Counts:
    """Tamper so many times, each time with the log as it was, and count."""
    counts, chance = Counts(), random.Random(seed)
    with killed_jobs.installation() as (_, database):
        for number in range(ENTRIES):
            about = f"c{number}", clock.now(), {"n": number}
            change(database, record, "U0LEAD", "campaign.approve", *about)
        for statement in ("UPDATE {} SET team_id = 'X'", "DELETE FROM {}"):
            for table in ("audit", "audit_links"):
                counts.inject()
                own = statement.format(table)
                counts.expect(_is_refused(database, own), own)
        tamper(database)
        while counts.injections < injections:
            deed, entry = chance.choice(TAMPERINGS), chance.randint(1, ENTRIES - 1)
            with suppress(_Undo), database.transaction() as session:
                head = audit_chain.head(session)
                places = deed(session, chance, entry)
                session.expire_all()
                found = audit_chain.verify(session, head)
                named = {problem.entry for problem in found.problems}
                named |= {0} if found.lost_keys else set()
                counts.inject()
                counts.expect(bool(named & places), f"{deed.__name__} of {entry}: {found}")
                raise _Undo
    return counts


def _is_refused(database: Database, statement: str) -> bool:
    try:
        with database.engine.begin() as connection:
            connection.execute(text(statement))
    except DBAPIError:
        return True
    return False
