"""Have mail platforms delete the profiles of erased customers.

What a request needs is stored before the desk erases, encrypted. A platform that does not answer is
asked again for a week.
"""

import json
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, func, select, update

from retention import clock
from retention.connect import connections
from retention.connect.contract import ConnectorError, chunks
from retention.connect.registry import PLATFORMS, connector
from retention.connect.shops.webhook_inbox import next_attempt
from retention.db import Database, Transaction
from retention.db.audit import record
from retention.db.tables import Connection, Job, ProfileDeletion
from retention.errors import BadInput, Refused
from retention.privacy.periods import keep
from retention.settings import Settings
from retention.text import gettext

log = logging.getLogger(__name__)

WAITING, DELETED, BY_HAND = "waiting", "deleted", "by_hand"
NO_ACCESS = "no_access"  # the connection has no access to profiles, so the desk wrote none
BUSY = "busy"  # a hand-over to a platform runs
ASKED_FOR = timedelta(days=7)
AT_ONCE = 100  # customers of one row; a request each takes Klaviyo a minute and a half
# The job that erases asks first. It ends within a quarter of an hour.
FIRST_RETRY, SYNC_TIME = timedelta(minutes=15), timedelta(minutes=10)


def plan(
    session: Transaction,
    job_id: str,
    ids: Sequence[str],
    contacts: Callable[[Sequence[str]], Sequence[str]],
) -> list[ProfileDeletion]:
    """Return what each connected mail platform has to delete, to be stored; once per job.

    ``contacts`` reads the lake, so nobody calls this in a write transaction. A later attempt of
    the job no longer finds the addresses of what the first one erased.
    """
    if _of_job(session, job_id):
        return []
    platforms = [
        connection
        for connection in connections.connections(session)
        if connection.kind in PLATFORMS and connection.state != "removed"
    ]
    planned: list[ProfileDeletion] = []
    for some in chunks(ids, AT_ONCE) if platforms else ():
        emails = [contact for contact in contacts(some) if "@" in contact]
        content = {"ids": json.dumps(list(some)), "emails": json.dumps(emails)}
        planned += [
            ProfileDeletion(
                team_id=session.settings.team_id,
                job_id=job_id,
                name=connection.name,
                kind=connection.kind,
                sealed=connections.encrypt(session.settings.keys, content, _place(connection)),
                retry_at=clock.wall() + FIRST_RETRY,
            )
            for connection in platforms
        ]
    return planned


def ask(database: Database, deletion_id: int) -> tuple[str, datetime | None]:
    """Ask the platform; return an error's code, and the time that the platform asks to wait for.

    The code is empty if the profiles are deleted. Nothing is raised, and no message of an error is
    kept: it may have the address.
    """
    with database.reading() as session:
        # A hand-over that ran during the erasure is queued again, but may still write what it read.
        syncs = (Job.kind == "platform_sync", Job.state.in_(("queued", "running")))
        if session.scalar(select(Job.id).where(*syncs).limit(1)):
            return BUSY, clock.wall() + SYNC_TIME
        row = session.get_one(ProfileDeletion, deletion_id)
        try:
            customers = connections.decrypt(session.settings.keys, row.sealed, _place(row))
            connection = connections.find(session, row.name)
            if connection.kind != row.kind:
                return "access_denied", None
            platform: Any = connector(row.kind, connections.access(session.settings, connection))
        except Refused:  # it was removed, for example
            return "access_denied", None
    try:
        if platform.missing_settings:
            return NO_ACCESS, None
        platform.delete_profiles(json.loads(customers["ids"]), json.loads(customers["emails"]))
    except ConnectorError as error:
        return error.code, error.retry_at
    except Exception as error:
        log.error("cannot delete profiles at %s: %s", row.name, type(error).__name__)
        return "changed_schema", None
    finally:
        platform.close()
    return "", None


def conclude(
    session: Transaction, deletion_id: int, answer: tuple[str, datetime | None], by: str
) -> ProfileDeletion:
    """Store what `ask` returned; what the platform deleted loses its content."""
    code, asked_for = answer
    row = session.get_one(ProfileDeletion, deletion_id)
    if row.state != WAITING:  # another attempt of the job was faster
        return row
    row.attempts += 1
    row.error_code = code or None
    if not code:
        row.state, row.sealed = DELETED, b""
    elif code == NO_ACCESS or clock.wall() - row.created_at >= ASKED_FOR:
        row.state = BY_HAND
        row.retry_at = clock.wall() + keep("profile_deletions")  # then `drop_old` empties it
    else:
        row.retry_at = next_attempt(row.attempts, asked_for)
        return row
    if row.state == BY_HAND:
        log.warning("%s did not delete an erased customer (%s); do it by hand", row.name, code)
    _record(session, row, row.state, by)
    return row


def left(session: Transaction) -> list[dict[str, Any]]:
    """Return whom an admin has to delete by hand, and at which platform."""
    found = []
    waiting = select(ProfileDeletion).where(*_left(session.settings)).order_by(ProfileDeletion.id)
    for row in session.scalars(waiting):
        try:
            content = connections.decrypt(session.settings.keys, row.sealed, _place(row))
        except Refused:  # with another key, for example; the other rows are readable
            content = {"ids": "[]", "emails": "[]"}
        customers = {key: json.loads(value) for key, value in content.items()}
        shown = {"number": row.id, "name": row.name, "kind": row.kind}
        found.append({**shown, "until": row.retry_at.isoformat(), **customers})
    return found


def done_by_hand(session: Transaction, number: int, by: str) -> None:
    """Empty what an admin has deleted by hand."""
    chosen = select(ProfileDeletion).where(*_left(session.settings), ProfileDeletion.id == number)
    row = session.scalar(chosen)
    if row is None:
        message = gettext("There is no profile {number} to delete by hand.")
        raise BadInput(message.format(number=number), field="done")
    row.sealed = b""
    _record(session, row, "deleted_by_hand", by)


def drop_old(session: Transaction) -> None:
    """Empty what nobody has deleted by hand in the period `profile_deletions`."""
    old = update(ProfileDeletion).where(
        *_left(session.settings), ProfileDeletion.retry_at <= clock.wall()
    )
    session.change(old.values(sealed=b""))


def _left(settings: Settings) -> tuple[ColumnElement[bool], ...]:
    return (
        ProfileDeletion.team_id == settings.team_id,
        ProfileDeletion.state == BY_HAND,
        func.length(ProfileDeletion.sealed) > 0,  # earlier versions emptied it at once
    )


def _record(session: Transaction, row: ProfileDeletion, result: str, by: str) -> None:
    details = {"connection": row.name, "kind": row.kind, "result": result}
    details["error"] = row.error_code or ""
    subject = f"job {row.job_id}"
    record(session, by, "customer.forget_profile", subject, clock.now(), details)


def due(session: Transaction) -> list[ProfileDeletion]:
    """Return the requests whose next attempt is due."""
    own = {"team_id": session.settings.team_id, "state": WAITING}
    waiting = select(ProfileDeletion).filter_by(**own).order_by(ProfileDeletion.id)
    return list(session.scalars(waiting.where(ProfileDeletion.retry_at <= clock.wall())))


def of_job(session: Transaction, job_id: str) -> list[dict[str, Any]]:
    """Return what became of a job's requests, for messages."""
    return [
        {name: getattr(row, name) for name in ("id", "name", "kind", "state")}
        | {"code": row.error_code or "", "retry_at": row.retry_at.isoformat()}
        for row in _of_job(session, job_id)
    ]


def rotate_all(session: Transaction) -> None:
    """Encrypt anew with the current key what waits, or is left to do by hand."""
    own = ProfileDeletion.team_id == session.settings.team_id
    stored = select(ProfileDeletion).where(own, func.length(ProfileDeletion.sealed) > 0)
    for row in session.scalars(stored):
        row.sealed = connections.rotate(session.settings.keys, row.sealed)


def _place(row: Connection | ProfileDeletion) -> dict[str, str]:
    return {"name": row.name, "kind": row.kind}


def _of_job(session: Transaction, job_id: str) -> Sequence[ProfileDeletion]:
    rows = select(ProfileDeletion).where(ProfileDeletion.job_id == job_id)
    return session.scalars(rows.order_by(ProfileDeletion.id)).all()
