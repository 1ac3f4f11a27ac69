"""Limit the jobs that one person may submit.

Three rules apply to requests of people. An identical open request is joined. A person may have a
few open jobs of each kind. A person may start a few jobs within some seconds. Schedules, due
campaign steps, system jobs and the terminal's operator are exempt.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import CompoundSelect, bindparam, literal_column, null, select, union_all
from sqlalchemy.orm import Session

from retention import clock
from retention.db.engine import advisory_lock
from retention.db.tables import Job, JobJoin, RoleGrant
from retention.errors import TooManyRequests
from retention.keys import keyed_hash
from retention.settings import Settings
from retention.text import gettext
from workers import roles
from workers.requests import REQUESTS, Request

OPEN = ("queued", "running")
_STATES = (*OPEN, "done", "failed", "cancelled")

# docs/operator/processes.md repeats these limits.
BURST_JOBS, BURST_WINDOW = 10, timedelta(seconds=10)  # of all kinds, for each person
OPEN_BY_QUEUE = {"interactive": 10, "batch": 3, "training": 3}  # of each kind, for each person
OPEN_BY_KIND = {"forget": 20}  # an admin works through a list of erasure requests


@dataclass(frozen=True, slots=True)
class ExistingJob:
    """A stored job that answers a new request.

    ``joined`` is False if the same delivery arrived twice, and True if another request is
    identical. ``is_new`` is True for a delivery that joins now.
    """

    job_id: str
    joined: bool
    is_new: bool = False


def is_limited(user: str) -> bool:
    """Return whether limits apply to a user.

    They apply to everyone except the terminal's operator.
    """
    return user != roles.OPERATOR


def open_limit(kind: str) -> int:
    """Return a person's open-job limit for a kind."""
    return OPEN_BY_KIND.get(kind, OPEN_BY_QUEUE[REQUESTS[kind].queue])


def request_key(
    settings: Settings, kind: str, args: dict[str, Any], channel: str | None, thread_key: str | None
) -> str | None:
    """Return the key that identical requests share.

    Parameters
    ----------
    settings : Settings
        Their secret key makes the hash useless for guessing customer ids.
    kind : str
        Kind of the job.
    args : dict
        Arguments as the job row stores them.
    channel : str or None
        Destination of the result. Results for different direct messages are never identical.
    thread_key : str or None
        Thread of the result.

    Returns
    -------
    str or None
        A keyed hash in hex. None without a channel, because such a job cannot be joined.
    """
    if channel is None:
        return None
    request = json.dumps([kind, args, channel, thread_key], sort_keys=True)
    return keyed_hash(settings.key, "request", request).hex()


def admit(
    session: Session,
    settings: Settings,
    request: type[Request] | Request,
    *,
    user: str,
    key: str | None,
    idem_key: str,
) -> ExistingJob | None:
    """Check a person's role and limits.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    request : type[Request] or Request
        The request or its class.
    user : str
        Owner of the job.
    key : str or None
        The request's `request_key`.
    idem_key : str
        The delivery. Empty for a retry, which has no delivery of its own.

    Returns
    -------
    ExistingJob or None
        The job that answers this request already. None if a new job may be stored in this
        transaction.

    Raises
    ------
    NotAllowed
        The person's role does not allow the request.
    TooManyRequests
        Names the limit and the remedy.
    """
    session.flush()  # a grant may not be flushed yet
    advisory_lock(session, f"requests:{settings.team_id}")
    parameters = {
        "team_id": settings.team_id,
        "kind": request.kind,
        "user": user,
        "key": key,
        "idem_key": idem_key,
        "since": clock.wall() - BURST_WINDOW,
    }
    matches: dict[str, list[Any]] = {
        "role": [],
        "delivery": [],
        "joined": [],
        "identical": [],
        "open": [],
        "recent": [],
    }
    rows = session.connection().execute(admission_query(), parameters).all()
    for part, value, _ in sorted(rows, key=_queued_at):  # the oldest job first, which ends first
        matches[part].append(value)
    role = roles.effective_role(settings, user, next(iter(matches["role"]), None))
    roles.check(role, request.role, request.deed)
    if matches["delivery"]:
        return ExistingJob(matches["delivery"][0], joined=False)
    if matches["joined"]:
        return ExistingJob(matches["joined"][0], joined=True)
    if matches["identical"]:
        return ExistingJob(matches["identical"][0], joined=True, is_new=True)
    limit = open_limit(request.kind)
    if len(matches["open"]) >= limit:
        raise TooManyRequests(
            gettext(
                "One person can have at most {limit} {title} jobs queued or running, so wait "
                "for one to finish or cancel one with `/retention jobs cancel {open}`."
            ).format(limit=limit, title=request.title, open=matches["open"][0])
        )
    if len(matches["recent"]) >= BURST_JOBS:
        raise TooManyRequests(
            gettext(
                "One person can start at most {limit} jobs in {seconds:.0f} seconds, so wait "
                "{seconds:.0f} seconds and send this again."
            ).format(limit=BURST_JOBS, seconds=BURST_WINDOW.total_seconds())
        )
    return None


@cache
def admission_query() -> CompoundSelect[Any]:
    """Return the one query behind a decision.

    It is built once, because people wait for it. Each part names one state. Without statistics
    SQLite prefers the index on team and time to one with ``state IN (…)``, and would read every
    job.
    """

    def part(what: str, *conditions: Any) -> Any:
        team = Job.team_id == bindparam("team_id")
        return select(literal_column(f"'{what}'"), Job.id, Job.queued_at).where(team, *conditions)

    granted: Any = select(literal_column("'role'"), RoleGrant.role, null()).where(
        RoleGrant.team_id == bindparam("team_id"), RoleGrant.user_id == bindparam("user")
    )

    def in_state(state: str) -> Any:
        return Job.state == literal_column(f"'{state}'")

    earlier_join: Any = (
        select(literal_column("'joined'"), JobJoin.job_id, null())
        .join(Job, Job.id == JobJoin.job_id)
        .where(JobJoin.idem_key == bindparam("idem_key"))
    )
    same = Job.request_key == bindparam("key"), Job.cancel_at.is_(None)
    own = Job.requested_by == bindparam("user"), Job.by_person.is_(True)
    return union_all(
        part("delivery", Job.idem_key == bindparam("idem_key")),
        earlier_join,
        *(part("identical", *same, in_state(state)) for state in OPEN),
        *(part("open", *own, in_state(state), Job.kind == bindparam("kind")) for state in OPEN),
        *(
            part("recent", *own, in_state(state), Job.queued_at >= bindparam("since"))
            for state in _STATES
        ),
        granted,
    )


def _queued_at(row: Any) -> float:
    return row[2].timestamp() if row[2] else 0.0
