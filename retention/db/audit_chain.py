"""Chain and sign the audit log, so that a changed, missing or moved entry shows.

Each entry has a link: the hash of the link before it and of the entry, signed with the
installation's key. Links are written at the end of the transaction that wrote their entries.
"""

import hmac
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from hashlib import sha256
from typing import Any, Literal

from sqlalchemy import event, select

from retention.db.engine import Transaction, advisory_lock
from retention.db.tables import Audit, AuditLink
from retention.keys import Keys, keyed_hash
from retention.settings import Settings

START = "0" * 64  # the hash before the first link
_PENDING, _LOCK, _PURPOSE = "audit_entries", "audit_chain", "audit link"

HEADS = "audit_heads"  # a file in the home, which the database's password does not open
_KEPT = re.compile(r"^(\S+) ([0-9a-f]{64})$", re.MULTILINE)

Fault = Literal["changed", "missing", "moved", "unsigned", "unsealed", "cut"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A fault of the chain; ``entry`` is the id of the audit entry, or 0 for the whole chain."""

    fault: Fault
    entry: int


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` found.

    `head`: the newest hash; keep it outside of the installation.
    `lost_keys`: ids of keys that signed links and are not here any more.
    """

    entries: int
    head: str
    problems: tuple[Problem, ...]
    lost_keys: tuple[str, ...]


def add(session: Transaction, entry: Audit) -> None:
    """Add an entry, and link it when the transaction commits."""
    session.add(entry)
    session.info.setdefault(_PENDING, []).append(entry)


def entry_data(entry: Audit) -> dict[str, Any]:
    """Return an entry as plain data, with its times in UTC. This is what is hashed."""
    return {
        "id": entry.id,
        "team_id": entry.team_id,
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "details": entry.details,
        "at": entry.at.astimezone(UTC).isoformat(),
        "wall_at": entry.wall_at.astimezone(UTC).isoformat(),
    }


def head(session: Transaction) -> str:
    """Return the newest hash."""
    newest = select(AuditLink.hash).order_by(AuditLink.id.desc()).limit(1)
    return session.scalar(newest) or START


def keep_head(settings: Settings, day: str, newest: str) -> None:
    """Keep a head in the home, the first of a day."""
    if day not in dict(_kept_heads(settings)):
        path = settings.home / HEADS
        path.touch(mode=0o600)
        with path.open("a", encoding="ascii") as file:
            file.write(f"\n{day} {newest}")  # begins a line, should the one before be cut short


def _kept_heads(settings: Settings) -> list[tuple[str, str]]:
    """Return the days and heads that the home has."""
    path = settings.home / HEADS
    return _KEPT.findall(path.read_text("ascii", "replace")) if path.exists() else []


def link_data(link: AuditLink) -> dict[str, Any]:
    """Return a link as plain data."""
    return {name: getattr(link, name) for name in ("before", "hash", "key_id", "signature")}


def entries(session: Transaction) -> Iterator[tuple[AuditLink, Audit | None]]:
    """Yield all links with their entries, oldest first."""
    joined = select(AuditLink, Audit).outerjoin(Audit, Audit.id == AuditLink.audit_id)
    rows = session.execute(joined.order_by(AuditLink.id).execution_options(yield_per=1_000))
    yield from rows.tuples()


def life(session: Transaction, subject: str) -> tuple[list[Audit], list[Problem]]:
    """Return a subject's entries, oldest first, and those that differ from their own links."""
    joined = select(Audit, AuditLink).outerjoin(AuditLink, AuditLink.audit_id == Audit.id)
    own = Audit.team_id == session.settings.team_id, Audit.subject == subject
    rows = list(session.execute(joined.where(*own).order_by(Audit.id)).tuples())
    keys, problems = session.settings.keys, list[Problem]()
    for entry, link in rows:
        if link is None:
            problems.append(Problem("unsealed", entry.id))
        elif _hash(link.before, entry) != link.hash:
            problems.append(Problem("changed", entry.id))
        elif not _is_signed(keys, link):  # no later link vouches for it here
            problems.append(Problem("unsigned", entry.id))
    return [entry for entry, _ in rows], problems


def verify(session: Transaction, known_head: str | None = None) -> Verified:
    """Check all links and entries.

    A key that is not in use any more cannot check its signatures. Its links count as signed if a
    later one is: that one's hash covers them. But whoever writes the log anew can invent such a
    key and wait for the next entry, so its id is returned: a person knows whether a key was lost.

    `known_head`: a hash that was kept outside, or its beginning; a chain without it, or without one
    that the home has, was cut or written anew.
    """
    keys, problems, before = session.settings.keys, list[Problem](), START
    seen, number, hashes = set[int](), 0, {START}
    ids = session.scalars(select(Audit.id).order_by(Audit.id)).all()  # before: the log grows
    of_lost_key: list[Problem] = []
    lost_keys = dict[str, None]()
    for link, entry in entries(session):
        number += 1
        seen.add(link.audit_id)
        if link.before != before:
            moved: Fault = "moved" if link.before in hashes else "missing"
            problems.append(Problem(moved, link.audit_id))
        if entry is None:
            problems.append(Problem("missing", link.audit_id))
        elif _hash(link.before, entry) != link.hash:
            problems.append(Problem("changed", link.audit_id))
        match _is_signed(keys, link):
            case True:
                of_lost_key.clear()
            case False:
                problems.append(Problem("unsigned", link.audit_id))
            case None:
                of_lost_key.append(Problem("unsigned", link.audit_id))
                lost_keys[link.key_id] = None
        before = link.hash
        hashes.add(before)
    problems += of_lost_key
    problems += [Problem("unsealed", each) for each in ids if each not in seen]
    is_known = known_head is None or any(each.startswith(known_head) for each in hashes)
    if not is_known or not hashes.issuperset(dict(_kept_heads(session.settings)).values()):
        problems.append(Problem("cut", 0))
    return Verified(number, before, tuple(problems), tuple(lost_keys))


@event.listens_for(Transaction, "before_commit")
def _link(session: Transaction) -> None:
    """Link the entries of a transaction, last of all: it waits for others that link."""
    if session.in_nested_transaction() or not session.info.get(_PENDING):
        return
    pending = [entry for entry in session.info.pop(_PENDING) if entry in session]
    session.flush()
    advisory_lock(session, _LOCK)
    before = head(session)
    if before == START:  # entries of before there were links
        pending = list(session.scalars(select(Audit).order_by(Audit.id)))
    session.add_all(_links(session.settings.keys, before, pending))


def _links(keys: Keys, before: str, entries: Sequence[Audit]) -> Iterator[AuditLink]:
    for entry in sorted(entries, key=lambda each: each.id):
        link = _hash(before, entry)
        signature = keyed_hash(keys.current, _PURPOSE, link).hex()
        own = {"audit_id": entry.id, "key_id": keys.current_id, "signature": signature}
        yield AuditLink(team_id=entry.team_id, before=before, hash=link, **own)
        before = link


def _hash(before: str, entry: Audit) -> str:
    text = json.dumps(entry_data(entry), sort_keys=True, ensure_ascii=False)
    return sha256(f"{before}\n{text}".encode()).hexdigest()


def _is_signed(keys: Keys, link: AuditLink) -> bool | None:
    """Return whether a link's signature is right; None if its key is not known any more."""
    key = keys.by_id(link.key_id)
    if key is None:
        return None
    expected = keyed_hash(key, _PURPOSE, link.hash).hex()
    return hmac.compare_digest(expected.encode(), link.signature.encode())
