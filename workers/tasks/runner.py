"""Run jobs in workers and in the terminal.

The Celery parent imports this module. ``workers.tasks.<kind>`` imports the heavy packages in the
child.
"""

import importlib
import logging
import secrets
from typing import Any

from sqlalchemy import select

from retention import faults
from retention.db import Database
from retention.db.tables import Job
from retention.errors import BadInput, Cancelled, Conflict, Refused
from retention.progress import Progress, forward_only, silent
from retention.settings import Settings
from retention.text import gettext, use_language
from workers import completion, jobs, languages, processes, roles
from workers.app import TRAINING
from workers.heartbeat import TRAINING_LIMITS, Heartbeat, LimitExceeded
from workers.job_messages import surviving_models
from workers.requests import REQUESTS, Request
from workers.tasks.interface import Context, Outcome

log = logging.getLogger(__name__)


def run_job(settings: Settings, database: Database, job_id: str, task_id: str) -> str:
    """Claim, run and end a job.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    database : Database
        Holds jobs, campaigns and messages.
    job_id : str
        Id of the job.
    task_id : str
        Celery's id of the task.

    Returns
    -------
    str
        The result for the log. ``"not ours"`` if another worker has the job, it is not due or has
        ended.
    """
    with database.transaction() as session:
        job = jobs.claim(session, job_id, processes.worker_name(task_id))
        chosen = languages.of_job(session, settings, job) if job else None
    if job is None:
        return "not ours"
    with use_language(chosen):  # of those who read the result
        return _run_claimed(settings, database, job)


def _run_claimed(settings: Settings, database: Database, job: Job) -> str:
    """Run and end a job of this worker."""
    try:
        outcome = _run_guarded(settings, database, job, may_kill=True)
        completion.complete(settings, database, job, outcome)
        return "done"
    except Cancelled:
        return "cancelled" if completion.cancel(settings, database, job) else "lease lost"
    except (Refused, LimitExceeded) as refusal:
        # A refusal without a field is about the data: it concerns everyone in the thread.
        by_input = isinstance(refusal, BadInput) and refusal.field is not None
        completion.fail(settings, database, job, str(refusal), by_input=by_input)
        return "refused" if isinstance(refusal, Refused) else "limit exceeded"
    except BaseException as error:  # a panic of native code is no Exception, but must be reported
        reference = completion.new_reference()
        log.exception("job %s (%s) failed; reference %s", job.id, job.kind, reference)
        text, partly = _failure_sentences(error, settings)
        completion.fail(settings, database, job, text, reference, partly=partly)
        if not isinstance(error, Exception):
            raise
        return "failed"


def run_inline(
    settings: Settings,
    database: Database,
    request: Request,
    *,
    user: str,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Run a request in this process, without Slack posts.

    The steps are those of a worker: row, claim, heartbeat, task and completion.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    database : Database
        Holds jobs, campaigns and messages.
    request : Request
        The validated request.
    user : str
        Slack user id, or `roles.OPERATOR`.
    progress : Progress, optional
        Also receives the progress.

    Returns
    -------
    dict
        The JSON object of the command.

    Raises
    ------
    Refused
        As the task raises it. `Conflict` if the job was cancelled.
    """
    with database.transaction() as session:
        stored = jobs.submit(
            session,
            settings,
            request,
            requested_by=user,
            channel=None,
            idem_key=f"here:{secrets.token_hex(12)}",
            limited=False,
        ).job
        job = jobs.claim(session, stored.id, processes.worker_name(jobs.TERMINAL))
    if job is None:  # impossible: no other process has seen the row
        raise Conflict(gettext("Job {id} was taken by a worker.").format(id=stored.id))
    try:
        outcome = _run_guarded(settings, database, job, may_kill=False, also=progress)
        completion.complete(settings, database, job, outcome)
    except Cancelled:
        completion.cancel(settings, database, job)
        with database.reading() as session:
            why = session.scalar(select(Job.error).where(Job.id == job.id))
            stays = " ".join(surviving_models(session, job))
        published = stays or gettext("Nothing was published.")
        raise Conflict(
            why
            or gettext("Job {job} was cancelled. {published}").format(
                job=job.id, published=published
            )
        ) from None
    except KeyboardInterrupt:
        completion.cancel(settings, database, job, by=job.requested_by)
        raise
    except Refused as refusal:
        text = completion.fail(settings, database, job, str(refusal))
        if text != str(refusal):
            raise type(refusal)(text) from None
        raise
    except BaseException as error:
        text, partly = _failure_sentences(error, settings)
        completion.fail(settings, database, job, text, completion.new_reference(), partly=partly)
        raise
    return completion.to_json(outcome.data)


def _run_guarded(
    settings: Settings, database: Database, job: Job, *, may_kill: bool, also: Progress = silent
) -> Outcome:
    """Recheck the role and run the task."""
    request = REQUESTS[job.kind].model_validate(job.args)
    with database.reading() as session:
        roles.require(session, settings, job.requested_by, request.role, request.deed)
    limits = TRAINING_LIMITS if may_kill and job.queue == TRAINING else None
    heartbeat = Heartbeat(settings, database, job, may_kill=may_kill, limits=limits)
    try:
        with heartbeat:
            return _run_task(settings, database, job, request, heartbeat, also)
    except LimitExceeded:  # raised without a text, which the heartbeat has
        raise LimitExceeded(heartbeat.exceeded) from None


def _run_task(
    settings: Settings,
    database: Database,
    job: Job,
    request: Request,
    heartbeat: Heartbeat,
    also: Progress,
) -> Outcome:
    """Call the task's `run`; its progress feeds the heartbeat."""

    def report(done: int, total: int, what: str) -> None:
        heartbeat.progress(done, total, what)
        also(done, total, what)

    context = Context(
        settings=settings,
        database=database,
        job_id=job.id,
        attempt=job.attempt,
        requested_by=job.requested_by,
        channel=job.channel,
        thread_key=job.thread_key,
        business_at=job.business_at,
        progress=forward_only(report),
    )
    run = importlib.import_module(f"workers.tasks.{job.kind}").run
    return run(request, context)


def _failure_sentences(error: BaseException, settings: Settings) -> tuple[str, str | None]:
    """Return failure messages without and with published parts.

    The second is None if the first fits. The fault is diagnosed once, because that may read the
    lake for seconds.
    """
    if type(error).__name__ == "SoftTimeLimitExceeded":
        return gettext(
            "It took longer than a job may take and was stopped; ask for less at a time."
        ), None
    if isinstance(error, MemoryError):
        return gettext("The machine ran out of memory; ask for less at a time."), None
    if fault := faults.diagnose(error, settings):
        return str(fault), None
    return (
        gettext("Something went wrong on our side; nothing was published."),
        gettext("Something went wrong on our side before the job was complete."),
    )
