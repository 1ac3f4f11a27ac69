"""Submit, publish, claim, cancel, retry and list jobs.

The job table holds all jobs. A request is stored in the caller's transaction, once per
``idem_key``, and published after the commit. The bot imports this module, which loads nothing
heavy.
"""

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, and_, case, null, or_, select, update
from sqlalchemy.orm import Session, defer, make_transient_to_detached

from retention import clock
from retention.db.insert import insert_once
from retention.db.tables import Job
from retention.errors import BadInput, Conflict, NotAllowed
from retention.settings import Settings
from retention.text import gettext
from workers import broker, joins, quotas, roles
from workers.job_messages import show_cancelled, show_progress, show_retried
from workers.requests import REQUESTS, Request, title_of

log = logging.getLogger(__name__)

OPEN = quotas.OPEN
LEASE = timedelta(seconds=60)
# A retry in this time continues after the published parts; a later one starts again.
RESUME_WITHIN = timedelta(days=1)
_FAR = timedelta(hours=1)  # no lease is that long
TERMINAL = "terminal"  # worker name of a person's own process


@dataclass(frozen=True, slots=True)
class Submission:
    """A stored job and its relation to this request.

    Parameters
    ----------
    job : Job
        As stored.
    created : bool
        This call stored it.
    joined : bool
        It is an identical request that was open already. If both are False, the same ``idem_key``
        arrived before.
    """

    job: Job
    created: bool
    joined: bool = False


def submit(
    session: Session,
    settings: Settings,
    request: Request,
    *,
    requested_by: str,
    channel: str | None,
    idem_key: str,
    thread_key: str | None = None,
    announce: bool = True,
    limited: bool = True,
) -> Submission:
    """Store a job; call `wake` after the commit.

    Parameters
    ----------
    session : Session
        The caller's transaction. A refused request writes nothing in it.
    settings : Settings
        Of the installation.
    request : Request
        The work to do.
    requested_by : str
        Slack user id, or `roles.OPERATOR`.
    channel : str or None
        Destination of the message: a channel id, a user id (direct message) or None (no message).
    idem_key : str
        Makes the request unique: the Slack delivery, or the action itself if it costs money.
    thread_key : str, optional
        Outbox key of the message that gets the result in its thread.
    announce : bool, optional
        Post a progress message, which the result replaces. Without it the result is a new message,
        which notifies people. An update does not.
    limited : bool, optional
        Apply the limits of `workers.quotas` and join an identical open request. False for schedules
        and for due work of the system.

    Returns
    -------
    Submission
        The new job, or the earlier one that answers this request.

    Raises
    ------
    NotAllowed
        The role of ``requested_by`` does not allow it.
    TooManyRequests
        The person has reached a limit.
    BadInput
        The task would refuse a value (`Request.check`).
    """
    args, limited = request.model_dump(mode="json"), limited and quotas.is_limited(requested_by)
    key = quotas.request_key(settings, request.kind, args, channel, thread_key)
    if limited:
        earlier = quotas.admit(
            session,
            settings,
            request,
            user=requested_by,
            key=key,
            idem_key=idem_key,
        )
        if earlier:
            if earlier.is_new:
                joins.remember(session, settings, earlier.job_id, requested_by, idem_key)
            return Submission(
                session.get_one(Job, earlier.job_id), created=False, joined=earlier.joined
            )
        request.check(session, settings)
    else:
        roles.require(session, settings, requested_by, request.role, request.deed)
    values = {
        "id": secrets.token_hex(6),
        "team_id": settings.team_id,
        "kind": request.kind,
        "queue": request.queue_in(settings),
        "args": args,
        "idem_key": idem_key,
        "request_key": key,
        "by_person": limited,
        "requested_by": requested_by,
        "channel": channel,
        "thread_key": thread_key,
        "business_at": clock.now(),
        **dict.fromkeys(("created_at", "queued_at", "enqueued_at"), clock.wall()),
    }
    created = insert_once(session, Job, **values)
    if created:
        job = _as_stored(session, values)
    else:
        job = session.scalars(select(Job).where(Job.idem_key == idem_key)).one()
    if created and announce and channel:
        show_progress(session, settings, job)
    return Submission(job, created)


def _as_stored(session: Session, values: dict[str, Any]) -> Job:
    """Return the inserted row without reading it back.

    People wait for this.
    """
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


def wake(settings: Settings, job: Job) -> bool:
    """Publish a committed job to the workers.

    Never raises. The reconciler publishes lost jobs again.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    job : Job
        As stored.

    Returns
    -------
    bool
        False while the broker is down.
    """
    from workers.app import RUN_JOB, make_app, time_limits

    try:
        make_app(settings).send_task(
            RUN_JOB,
            args=[job.id],
            queue=job.queue,
            ignore_result=True,
            headers={broker.JOB: job.id},
            **time_limits(job.queue),
        )
    except Exception as error:
        # Kombu, redis and sockets raise different errors for a broker that is down.
        log.warning("job %s is stored but not published: %s", job.id, error)
        return False
    return True


def cancel(session: Session, settings: Settings, job_id: str, user: str) -> Job:
    """Cancel a job.

    A queued job is cancelled at once. A running one stops within seconds and publishes nothing.
    If another person joined it and its owner cancels, it goes on for that person.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    job_id : str
        Id of the job.
    user : str
        Slack user id, or `roles.OPERATOR`.

    Returns
    -------
    Job
        The job. `goes_on` tells whether it was given to another person.

    Raises
    ------
    BadInput
        There is no such job.
    NotAllowed
        Another person's job, and this person is no admin.
    Conflict
        The job has ended already.
    """
    job = find(session, settings, job_id)
    _require_owner(session, settings, job, user, gettext("cancel"))
    if joins.hand_over(session, settings, job, user):
        return job
    now = clock.wall()
    queued = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.state == "queued")
        .values(state="cancelled", cancel_at=now, cancelled_by=user, finished_at=now)
    )
    if queued.rowcount:  # type: ignore[attr-defined]
        session.refresh(job)
        show_cancelled(session, settings, job)
        return job
    running = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.state == "running", Job.cancel_at.is_(None))
        .values(cancel_at=now, cancelled_by=user)
    )
    session.refresh(job)
    if not running.rowcount:  # type: ignore[attr-defined]
        raise Conflict(
            (
                gettext(
                    "Job {id} ({kind}) is being cancelled already; there is nothing left to cancel."
                )
                if job.state == "running"
                else gettext(
                    "Job {id} ({kind}) is {state} already; there is nothing left to cancel."
                )
            ).format(id=job.id, kind=job.kind, state=job.state)
        )
    return job


def is_kind_open(session: Session, settings: Settings, kind: str) -> bool:
    """Return whether a job of a kind is queued or running."""
    found = select(Job.id).where(
        Job.team_id == settings.team_id, Job.kind == kind, Job.state.in_(OPEN)
    )
    return session.scalar(found.limit(1)) is not None


def goes_on(job: Job) -> bool:
    """Return whether a job is open and nobody cancels it."""
    return job.state in OPEN and job.cancel_at is None


def retry(session: Session, settings: Settings, job_id: str, user: str) -> Job:
    """Retry a job; call `wake` after the commit.

    The job runs as of now. Its own message shows the progress again. The report of the failure
    stays, without its button.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    job_id : str
        Id of the job.
    user : str
        Slack user id, or `roles.OPERATOR`.

    Returns
    -------
    Job
        The job.

    Raises
    ------
    BadInput
        There is no such job.
    NotAllowed
        The role does not allow the job, or it is another person's.
    Conflict
        It is queued, running or done, or an identical request is open.
    TooManyRequests
        The job's owner has reached a limit.
    """
    job = find(session, settings, job_id)
    _require_owner(session, settings, job, user, gettext("retry"))
    request = REQUESTS[job.kind]
    roles.require(session, settings, job.requested_by, request.role, request.deed)
    if not requeue(session, settings, job, limited=quotas.is_limited(user)):
        raise Conflict(
            gettext(
                "Job {id} ({kind}) is {state}; only a failed or cancelled one can be retried."
            ).format(id=job.id, kind=job.kind, state=job.state)
        )
    return job


def requeue(session: Session, settings: Settings, job: Job, *, limited: bool = True) -> bool:
    """Queue a failed or cancelled job again.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    job : Job
        Refreshed. Parts that it published within the last day are not done again (`RESUME_WITHIN`).
    limited : bool, optional
        Apply the limits of `workers.quotas` to the job's owner.

    Returns
    -------
    bool
        False if the job is neither failed nor cancelled.

    Raises
    ------
    Conflict
        An identical request is open.
    TooManyRequests
        The job's owner has reached a limit.
    """
    if job.state not in ("failed", "cancelled"):
        return False
    key = quotas.request_key(settings, job.kind, job.args, job.channel, job.thread_key)
    if limited and quotas.admit(
        session,
        settings,
        REQUESTS[job.kind],
        user=job.requested_by,
        key=key,
        idem_key="",
    ):
        raise Conflict(
            gettext(
                "The same {title} job is already under way, so wait for its result instead of "
                "retrying {id}."
            ).format(title=title_of(job.kind), id=job.id)
        )
    now = clock.wall()
    is_old = job.finished_at is not None and now - job.finished_at > RESUME_WITHIN
    reset: dict[str, Any] = {"result": null()} if is_old else {}
    updated = session.execute(
        update(Job)
        .where(Job.id == job.id, Job.state.in_(("failed", "cancelled")))
        .values(
            request_key=key,
            by_person=limited or Job.by_person,
            state="queued",
            queue=REQUESTS[job.kind].queue_in(settings),
            cancel_at=None,
            cancelled_by=None,
            error=None,
            reference=None,
            finished_at=None,
            lease_until=None,
            queued_at=now,
            enqueued_at=now,
            business_at=clock.now(),
            progress_done=0,
            progress_total=0,
            progress_text="",
            **reset,
        )
    )
    session.refresh(job)
    if updated.rowcount and job.channel:  # type: ignore[attr-defined]
        show_retried(session, settings, job)
    return bool(updated.rowcount)  # type: ignore[attr-defined]


def find(session: Session, settings: Settings, job_id: str) -> Job:
    """Return a job by its id.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    job_id : str
        Id of the job.

    Returns
    -------
    Job
        The job, freshly read.

    Raises
    ------
    BadInput
        There is no such job.
    """
    job = session.get(Job, job_id, populate_existing=True)
    if job is None or job.team_id != settings.team_id:
        raise BadInput(
            gettext(
                "There is no job {job_id!r}; see `/retention jobs` for the ids of the latest ones."
            ).format(job_id=job_id)
        )
    return job


def recent(
    session: Session, settings: Settings, limit: int = 20, *, requested_only: bool = False
) -> Sequence[Job]:
    """Return the newest jobs without their results, newest first.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    limit : int, optional
        Greatest number of rows.
    requested_only : bool, optional
        Only jobs of people and of their schedules.

    Returns
    -------
    sequence of Job
        At most ``limit`` jobs.
    """
    # A result may have 15 MB.
    query = select(Job).where(Job.team_id == settings.team_id).options(defer(Job.result))
    if requested_only:
        query = query.where(Job.requested_by != roles.OPERATOR)
    return session.scalars(query.order_by(Job.created_at.desc(), Job.id).limit(limit)).all()


def open_jobs(session: Session, settings: Settings) -> Sequence[Job]:
    """Return queued and running jobs, oldest first.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.

    Returns
    -------
    sequence of Job
        All open jobs of the team.
    """
    conditions = Job.team_id == settings.team_id, Job.state.in_(OPEN)
    return session.scalars(select(Job).where(*conditions).order_by(Job.created_at, Job.id)).all()


# ---------------------------------------------------------------- for workers


def claimable(now: datetime) -> ColumnElement[bool]:
    """Return the condition for claimable jobs.

    They are queued and due, or their lease has expired. A lease far in the future comes from a
    wrong clock, and counts as expired.

    Parameters
    ----------
    now : datetime
        Real time.

    Returns
    -------
    ColumnElement
        Condition on the table of jobs.
    """
    has_expired = or_(Job.lease_until < now, Job.lease_until > now + _FAR)
    return or_(
        and_(Job.state == "queued", or_(Job.not_before.is_(None), Job.not_before <= now)),
        and_(Job.state == "running", has_expired),
    )


def claim(session: Session, job_id: str, worker: str) -> Job | None:
    """Claim a job by compare-and-set.

    The attempt grows by one and gets a lease. A job that was still running was lost by its worker.
    ``lost`` counts that, and starts again after a requeue.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    job_id : str
        Id of the job.
    worker : str
        Name of the claiming process (`workers.processes.worker_name`).

    Returns
    -------
    Job or None
        None if another worker has it or it has ended.
    """
    now = clock.wall()
    claimed = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.cancel_at.is_(None), claimable(now))
        .values(
            state="running",
            attempt=Job.attempt + 1,
            lease_until=now + LEASE,
            worker=worker,
            started_at=now,
            lost=case((Job.state == "running", Job.lost + 1), else_=0),
            # The message of a further attempt says that it starts again.
            progress_done=0,
            progress_total=0,
            progress_text="",
        )
    )
    if not claimed.rowcount:  # type: ignore[attr-defined]
        return None
    return session.get(Job, job_id, populate_existing=True)


def restart_running(session: Session, settings: Settings, why: str) -> None:
    """Restart running jobs that may have read erased customers.

    The running attempt publishes nothing, and the next attempt reads again. A job in a person's
    terminal fails instead.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        Of the installation.
    why : str
        Error message of jobs in a terminal.
    """
    kinds = [kind for kind, request in REQUESTS.items() if not request.outlasts_erasures]
    running = update(Job).where(
        Job.team_id == settings.team_id,
        Job.state == "running",
        Job.cancel_at.is_(None),
        Job.kind.in_(kinds),
    )
    in_terminal = Job.worker.startswith(f"{TERMINAL}@")
    failed = {"state": "failed", "error": why, "finished_at": clock.wall(), "lease_until": None}
    session.execute(running.where(in_terminal).values(failed))
    queued = {
        "state": "queued",
        "queued_at": clock.wall(),
        "lease_until": None,
        "enqueued_at": None,
    }
    session.execute(running.where(~in_terminal).values(queued))


def _require_owner(session: Session, settings: Settings, job: Job, user: str, deed: str) -> None:
    if user == job.requested_by:
        return
    role = roles.role_of(session, settings, user)
    if not roles.allows(role, "admin"):
        raise NotAllowed(
            gettext(
                "Job {id} was asked for by somebody else; to {deed} it you need admin, and "
                "your role is {role}."
            ).format(id=job.id, deed=deed, role=role)
        )
