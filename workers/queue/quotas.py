"""Limit the jobs that one person may submit.

Three rules apply to requests of people. An identical open request is joined. A person may have a
few open jobs of each kind. A person may start a few jobs within some seconds. Schedules, due
campaign steps, system jobs and the terminal's operator are exempt.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, delete, literal_column, select, update

from retention import clock
from retention.db import Transaction
from retention.db.engine import advisory_lock
from retention.db.insert import changed, insert_once
from retention.db.tables import Job, JobJoin
from retention.errors import TooManyRequests
from retention.keys import keyed_hash
from retention.settings import Settings
from retention.text import gettext
from workers import user_roles
from workers.delivery import outbox
from workers.delivery.job_messages import show_progress
from workers.job_requests import REQUESTS, Request

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
    return user != user_roles.OPERATOR


def open_limit(kind: str) -> int:
    """Return a person's open-job limit for a kind."""
    return OPEN_BY_KIND.get(kind, OPEN_BY_QUEUE[REQUESTS[kind].queue])


def request_key(
    settings: Settings, kind: str, args: dict[str, Any], channel: str | None, thread_key: str | None
) -> str | None:
    """Return the key that identical requests share.

    `channel`: destination of the result. Results for different direct messages are never identical.
    Returns: a keyed hash in hex. None without a channel, because such a job cannot be joined.
    """
    if channel is None:
        return None
    request = json.dumps([kind, args, channel, thread_key], sort_keys=True)
    return keyed_hash(settings.key, "request", request).hex()


def admit(
    session: Transaction,
    request: type[Request] | Request,
    *,
    user: str,
    key: str | None,
    idem_key: str,
) -> ExistingJob | None:
    """Check a person's limits.

    `idem_key`: the delivery. Empty for a retry, which has no delivery of its own.
    """
    advisory_lock(session, f"requests:{session.settings.team_id}")
    parameters = {
        "team_id": session.settings.team_id,
        "kind": request.kind,
        "user": user,
        "key": key,
        "idem_key": idem_key,
        "since": clock.wall() - BURST_WINDOW,
    }
    matches: defaultdict[str, list[Any]] = defaultdict(list)
    rows = session.connection().execute(admission_query(), parameters).all()
    for part, value, _ in sorted(rows, key=_queued_at):  # the oldest job first, which ends first
        matches[part].append(value)
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
        text = gettext(
            "One person can start at most {limit} jobs in {seconds:.0f} seconds, so wait "
            "{seconds:.0f} seconds and send this again."
        )
        raise TooManyRequests(text.format(limit=BURST_JOBS, seconds=BURST_WINDOW.total_seconds()))
    return None


@cache
def admission_query() -> sa.CompoundSelect[Any]:
    """Return the one query behind a decision.

    It is built once, because people wait for it. Each part names one state. Without statistics
    SQLite prefers the index on team and time to one with ``state IN (…)``, and would read every
    job.
    """

    def part(what: str, *conditions: Any) -> Any:
        team = Job.team_id == bindparam("team_id")
        return select(literal_column(f"'{what}'"), Job.id, Job.queued_at).where(team, *conditions)

    def in_state(state: str) -> Any:
        return Job.state == literal_column(f"'{state}'")

    earlier_join: Any = (
        select(literal_column("'joined'"), JobJoin.job_id, sa.null())
        .join(Job, Job.id == JobJoin.job_id)
        .where(JobJoin.idem_key == bindparam("idem_key"))
    )
    same = Job.request_key == bindparam("key"), Job.cancel_at.is_(None)
    own = Job.requested_by == bindparam("user"), Job.by_person.is_(True)
    return sa.union_all(
        part("delivery", Job.idem_key == bindparam("idem_key")),
        earlier_join,
        *(part("identical", *same, in_state(state)) for state in OPEN),
        *(part("open", *own, in_state(state), Job.kind == bindparam("kind")) for state in OPEN),
        *(
            part("recent", *own, in_state(state), Job.queued_at >= bindparam("since"))
            for state in _STATES
        ),
    )


def _queued_at(row: Any) -> float:
    return row[2].timestamp() if row[2] else 0.0


# A running attempt of these keeps its person: the author of a draft, the reader of a preview.
_OWN = ("campaign_draft", "campaign_preview")


def remember(session: Transaction, job_id: str, user: str, idem_key: str) -> None:
    """Store that a person's request joined a job.

    The same delivery then finds this job again, even after its end.

    `session`: the caller's transaction, in which `workers.queue.quotas.admit` found the job.
    """
    own = {"team_id": session.settings.team_id, "job_id": job_id, "user_id": user}
    insert_once(session, JobJoin, idem_key=idem_key, **own)


def hand_over(session: Transaction, job: Job, owner: str) -> bool:
    """Give an open job to the first person who joined it, because its owner withdraws."""
    if job.requested_by != owner or (job.state == "running" and job.kind in _OWN):
        return False
    advisory_lock(session, f"requests:{session.settings.team_id}")  # nobody joins meanwhile
    session.execute(delete(JobJoin).where(JobJoin.job_id == job.id, JobJoin.user_id == owner))
    heir = session.scalar(
        select(JobJoin.user_id).where(JobJoin.job_id == job.id).order_by(JobJoin.at).limit(1)
    )
    if heir is None:
        return False
    is_owners = Job.id == job.id, Job.requested_by == owner
    is_open = Job.state.in_(OPEN), Job.cancel_at.is_(None)
    handed = update(Job).where(*is_owners, *is_open).values(requested_by=heir)
    is_handed = changed(session, handed)
    session.refresh(job)
    if not is_handed:
        return False
    if outbox.channel_of(session, f"job:{job.id}") is not None:
        show_progress(session, job)
    return True
