"""Submit, publish, claim, cancel, retry and list jobs.

The job table holds all jobs. A request is stored in the caller's transaction, once per
``idem_key``, and published after the commit. The bot imports this module, which loads nothing
heavy.
"""

import logging
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, and_, case, null, or_, select, update
from sqlalchemy.orm import defer, make_transient_to_detached

from retention import clock, traces
from retention.db import Transaction
from retention.db.insert import changed, insert_once
from retention.db.tables import Job
from retention.errors import BadInput, Conflict, NotAllowed
from retention.settings import Settings
from retention.text import gettext
from workers import user_roles
from workers.app import RUN_JOB, make_app, time_limits
from workers.delivery.job_messages import show_cancelled, show_progress, show_retried
from workers.job_requests import REQUESTS, Request, title_of
from workers.queue import broker, quotas

log = logging.getLogger(__name__)

OPEN = quotas.OPEN
LEASE = timedelta(seconds=60)
# A retry in this time continues after the published parts; a later one starts again.
RESUME_WITHIN = timedelta(days=1)
_FAR = timedelta(hours=1)  # no lease is that long
TERMINAL = "terminal"  # worker name of a person's own process
_NO_PROGRESS = {"progress_done": 0, "progress_total": 0, "progress_text": ""}
_OF_AN_END = ("cancel_at", "cancelled_by", "error", "reference", "finished_at", "lease_until")


@dataclass(frozen=True, slots=True)
class Submission:
    """A stored job and its relation to this request.

    `joined`: it is an identical request that was open already. If both are False, the same
    ``idem_key`` arrived before.
    """

    job: Job
    created: bool
    joined: bool = False

    @property
    def new(self) -> list[Job]:
        """The job if it is new."""
        return [self.job] if self.created else []


def submit(
    session: Transaction,
    request: Request,
    *,
    requested_by: str,
    channel: str | None,
    idem_key: str,
    thread_key: str | None = None,
    announce: bool = True,
    is_due: bool = False,
) -> Submission:
    """Store a person's job; call `wake` after the commit.

    The limits of `workers.queue.quotas` apply, and an identical open request is joined.

    `idem_key`: makes the request unique: the Slack delivery, or the action itself if it costs
    money.
    `announce`: post a progress message, which the result replaces. Without it the result is a new
    message, which notifies people. An update does not.
    `is_due`: no limits apply, see `submit_due`.
    The role of ``requested_by`` was checked at the command or click.
    Raises `BadInput`: the task would refuse a value (`Request.check`).
    """
    values = _values(session, request, idem_key, requested_by, channel, thread_key)
    if is_due or not quotas.is_limited(requested_by):
        user_roles.require(session, requested_by, request.role, request.deed)
    else:
        key = values["request_key"]
        earlier = quotas.admit(session, request, user=requested_by, key=key, idem_key=idem_key)
        if earlier is not None:
            if earlier.is_new:
                quotas.remember(session, earlier.job_id, requested_by, idem_key)
            job = session.get_one(Job, earlier.job_id)
            return Submission(job, created=False, joined=earlier.joined)
        request.check(session)
        values["by_person"] = True
    with traces.span("job.submit", job=values["id"], kind=request.kind):
        values["traceparent"] = traces.traceparent()
        if not insert_once(session, Job, **values):
            stored = select(Job).where(Job.idem_key == idem_key)
            return Submission(session.scalars(stored).one(), created=False)
        job = _as_stored(session, values)
        if announce and job.channel:
            show_progress(session, job)
        log.info("job %s (%s) is accepted", job.id, job.kind)
    return Submission(job, created=True)


def submit_due(
    session: Transaction,
    request: Request,
    idem_key: str,
    *,
    requested_by: str = user_roles.OPERATOR,
    channel: str | None = None,
    thread_key: str | None = None,
    announce: bool = False,
) -> Submission:
    """Store a job of a schedule, or due work of the system, without limits; see `submit`."""
    return submit(
        session,
        request,
        requested_by=requested_by,
        channel=channel,
        idem_key=idem_key,
        thread_key=thread_key,
        announce=announce,
        is_due=True,
    )


def _values(
    session: Transaction, request: Request, idem_key: str, requested_by: str, *place: str | None
) -> dict[str, Any]:
    args = request.model_dump(mode="json")
    channel, thread_key = place
    return {
        "id": secrets.token_hex(6),
        "team_id": session.settings.team_id,
        "kind": request.kind,
        "queue": request.queue_in(session.settings),
        "args": args,
        "idem_key": idem_key,
        "request_key": quotas.request_key(session.settings, request.kind, args, *place),
        "by_person": False,
        "business_at": clock.now(),
        **dict.fromkeys(("created_at", "queued_at", "enqueued_at"), clock.wall()),
        "requested_by": requested_by,
        "channel": channel,
        "thread_key": thread_key,
    }


def _as_stored(session: Transaction, values: dict[str, Any]) -> Job:
    """Return the inserted row without reading it back. People wait for this."""
    job = Job(**{**_blank(), **values})
    make_transient_to_detached(job)
    session.add(job)
    return job


@cache
def _blank() -> dict[str, Any]:
    """Return the defaults of a new job's columns."""
    return {
        column.name: column.default.arg if column.default is not None else None
        for column in Job.__table__.columns
        if column.default is None or column.default.is_scalar
    }


def wake_all(settings: Settings, submitted: Iterable[Job]) -> None:
    """Publish committed jobs to the workers."""
    for job in submitted:
        wake(settings, job)


def wake(settings: Settings, job: Job) -> bool:
    """Publish a committed job to the workers.

    Never raises. The reconciler publishes lost jobs again.
    """
    try:
        make_app(settings).send_task(
            RUN_JOB,
            args=[job.id],
            queue=job.queue,
            ignore_result=True,
            headers={broker.JOB: job.id},
            **time_limits(settings, job.queue),
        )
    except Exception as error:
        # Kombu, redis and sockets raise different errors for a broker that is down.
        log.warning("job %s is stored but not published: %s", job.id, error)
        return False
    return True


def cancel(session: Transaction, job_id: str, user: str) -> Job:
    """Cancel a job.

    A queued job is cancelled at once. A running one stops within seconds and publishes nothing.
    If another person joined it and its owner cancels, it goes on for that person.

    Returns: the job. `goes_on` tells whether it was given to another person.
    """
    job = find(session, job_id)
    _require_owner(session, job, user, gettext("cancel"))
    if quotas.hand_over(session, job, user):
        return job
    now = clock.wall()
    own = update(Job).where(Job.id == job.id).values(cancel_at=now, cancelled_by=user)
    queued = own.where(Job.state == "queued").values(state="cancelled", finished_at=now)
    if changed(session, queued):
        session.refresh(job)
        show_cancelled(session, job)
        return job
    is_asked = changed(session, own.where(Job.state == "running", Job.cancel_at.is_(None)))
    session.refresh(job)
    if is_asked:
        return job
    text = (
        gettext("Job {id} ({kind}) is being cancelled already; there is nothing left to cancel.")
        if job.state == "running"
        else gettext("Job {id} ({kind}) is {state} already; there is nothing left to cancel.")
    )
    raise Conflict(text.format(id=job.id, kind=job.kind, state=job.state))


def is_kind_open(session: Transaction, kind: str) -> bool:
    """Return whether a job of a kind is queued or running."""
    found = select(Job.id).where(
        Job.team_id == session.settings.team_id, Job.kind == kind, Job.state.in_(OPEN)
    )
    return session.scalar(found.limit(1)) is not None


def goes_on(job: Job) -> bool:
    """Return whether a job is open and nobody cancels it."""
    return job.state in OPEN and job.cancel_at is None


def retry(session: Transaction, job_id: str, user: str) -> Job:
    """Retry a job; call `wake` after the commit.

    The job runs as of now. Its own message shows the progress again. The report of the failure
    stays, without its button.
    """
    job = find(session, job_id)
    _require_owner(session, job, user, gettext("retry"))
    request = REQUESTS[job.kind]
    user_roles.require(session, job.requested_by, request.role, request.deed)
    if not requeue(session, job, limited=quotas.is_limited(user)):
        text = gettext(
            "Job {id} ({kind}) is {state}; only a failed or cancelled one can be retried."
        )
        raise Conflict(text.format(id=job.id, kind=job.kind, state=job.state))
    return job


def requeue(session: Transaction, job: Job, *, limited: bool = True) -> bool:
    """Queue a failed or cancelled job again.

    `job`: refreshed. Parts that it published within the last day are not done again
    (`RESUME_WITHIN`).
    `limited`: apply the limits of `workers.queue.quotas` to the job's owner.
    """
    if job.state not in ("failed", "cancelled"):
        return False
    key = quotas.request_key(session.settings, job.kind, job.args, job.channel, job.thread_key)
    if limited and quotas.admit(
        session, REQUESTS[job.kind], user=job.requested_by, key=key, idem_key=""
    ):
        text = gettext(
            "The same {title} job is already under way, so wait for its result instead of "
            "retrying {id}."
        )
        raise Conflict(text.format(title=title_of(job.kind), id=job.id))
    now = clock.wall()
    is_old = job.finished_at is not None and now - job.finished_at > RESUME_WITHIN
    reset: dict[str, Any] = {"result": null()} if is_old else {}
    queued = (
        update(Job)
        .where(Job.id == job.id, Job.state.in_(("failed", "cancelled")))
        .values(
            request_key=key,
            by_person=limited or Job.by_person,
            traceparent=traces.traceparent() or Job.traceparent,
            state="queued",
            queue=REQUESTS[job.kind].queue_in(session.settings),
            business_at=clock.now(),
            **dict.fromkeys(("queued_at", "enqueued_at"), now),
            **dict.fromkeys(_OF_AN_END),
            **_NO_PROGRESS,
            **reset,
        )
    )
    is_queued = bool(changed(session, queued))
    session.refresh(job)
    if is_queued and job.channel:
        show_retried(session, job)
    return is_queued


def find(session: Transaction, job_id: str) -> Job:
    job = session.get(Job, job_id, populate_existing=True)
    if job is None or job.team_id != session.settings.team_id:
        text = gettext(
            "There is no job {job_id!r}; see `/retention jobs` for the ids of the latest ones."
        )
        raise BadInput(text.format(job_id=job_id))
    return job


def recent(session: Transaction, limit: int = 20, *, requested_only: bool = False) -> Sequence[Job]:
    """Return the newest jobs without their results, newest first.

    Returns: at most ``limit`` jobs.
    """
    # A result may have 15 MB.
    query = select(Job).where(Job.team_id == session.settings.team_id).options(defer(Job.result))
    if requested_only:
        query = query.where(Job.requested_by != user_roles.OPERATOR)
    return session.scalars(query.order_by(Job.created_at.desc(), Job.id).limit(limit)).all()


def open_jobs(session: Transaction) -> Sequence[Job]:
    """Return queued and running jobs, oldest first."""
    conditions = Job.team_id == session.settings.team_id, Job.state.in_(OPEN)
    return session.scalars(select(Job).where(*conditions).order_by(Job.created_at, Job.id)).all()


# ---------------------------------------------------------------- for workers


def claimable(now: datetime) -> ColumnElement[bool]:
    """Return the condition for claimable jobs.

    They are queued and due, or their lease has expired. A lease far in the future comes from a
    wrong clock, and counts as expired.
    """
    has_expired = or_(Job.lease_until < now, Job.lease_until > now + _FAR)
    return or_(
        and_(Job.state == "queued", or_(Job.not_before.is_(None), Job.not_before <= now)),
        and_(Job.state == "running", has_expired),
    )


def claim(session: Transaction, job_id: str, worker: str) -> Job | None:
    """Claim a job by compare-and-set.

    The attempt grows by one and gets a lease. A job that was still running was lost by its worker.
    ``lost`` counts that, and starts again after a requeue.

    `worker`: name of the claiming process (`workers.queue.live_processes.worker_name`).
    """
    now = clock.wall()
    claimed = (
        update(Job)
        .where(Job.id == job_id, Job.cancel_at.is_(None), claimable(now))
        .values(
            state="running",
            attempt=Job.attempt + 1,
            lease_until=now + LEASE,
            worker=worker,
            started_at=now,
            lost=case((Job.state == "running", Job.lost + 1), else_=0),
            **_NO_PROGRESS,  # the message of a further attempt says that it starts again
        )
    )
    is_ours = changed(session, claimed)
    return session.get(Job, job_id, populate_existing=True) if is_ours else None


def restart_running(session: Transaction, why: str) -> None:
    """Restart running jobs that may have read erased customers.

    The running attempt publishes nothing, and the next attempt reads again. A job in a person's
    terminal fails instead.
    """
    kinds = [kind for kind, request in REQUESTS.items() if not request.outlasts_erasures]
    running = update(Job).where(
        Job.team_id == session.settings.team_id,
        Job.state == "running",
        Job.cancel_at.is_(None),
        Job.kind.in_(kinds),
    )
    in_terminal = Job.worker.startswith(f"{TERMINAL}@")
    failed = {"state": "failed", "error": why, "finished_at": clock.wall(), "lease_until": None}
    session.execute(running.where(in_terminal).values(failed))
    unleased = {"lease_until": None, "enqueued_at": None}
    queued = {"state": "queued", "queued_at": clock.wall(), **unleased}
    session.execute(running.where(~in_terminal).values(queued))


def _require_owner(session: Transaction, job: Job, user: str, deed: str) -> None:
    if user == job.requested_by:
        return
    role = user_roles.role_of(session, user)
    if not user_roles.allows(role, "admin"):
        text = gettext(
            "Job {id} was asked for by somebody else; to {deed} it you need admin, and "
            "your role is {role}."
        )
        raise NotAllowed(text.format(id=job.id, deed=deed, role=role))
