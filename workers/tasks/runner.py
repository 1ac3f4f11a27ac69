"""Run jobs in workers and in the terminal.

The Celery parent imports this module. A task imports the heavy packages in the child.
"""

import importlib
import importlib.util
import logging
import pkgutil
import secrets
from collections.abc import Callable
from functools import cache
from typing import Any

from sqlalchemy import select

from retention import faults, traces
from retention.db import Database
from retention.db.tables import Job
from retention.errors import BadInput, Cancelled, Conflict, Refused
from retention.progress import Progress, forward_only, silent
from retention.settings import Settings
from retention.text import gettext, use_language
from workers import hints, languages, tasks, user_roles
from workers.app import TRAINING, training_seconds
from workers.delivery.job_messages import surviving_models
from workers.job_requests import REQUESTS, Request
from workers.queue import completion, jobs, live_processes
from workers.queue.heartbeat import Heartbeat, LimitExceeded, Limits
from workers.tasks.interface import Context, Outcome

log = logging.getLogger(__name__)

# The modules of the kinds of job that no module is named after. They have ``run_KIND`` or ``run``.
SHARED = {
    "alert_check": "audiences.alerts",
    "alert_test": "audiences.alerts",
    "audience_save": "audiences.audiences",
    "audience_show": "audiences.audiences",
    "call_window": "customers.call_details",
    "campaign_decide": "campaigns.campaign_measure",
    "campaign_look": "campaigns.campaign_measure",
    "campaign_misuse": "campaigns.campaign_measure",
    "campaign_send": "campaigns.launch",
    "campaign_widen": "campaigns.campaign_draft",
    "cohort": "reports.figures",
    "customer_card": "customers.score",
    "customers": "reports.figures",
    "data_quality": "data.lake_upkeep",
    "delete_profile": "shops.mail_platforms",
    "demo_feed": "data.imports",
    "file_import": "data.imports",
    "file_propose": "data.imports",
    "import_files": "data.imports",
    "model_card": "models.model_reports",
    "monitor": "models.model_reports",
    "platform_sync": "shops.mail_platforms",
    "programme_report": "reports.figures",
    "promises_report": "reports.figures",
    "recommend_report": "models.model_reports",
    "release_counts": "reports.releases",
    "sales": "reports.figures",
    "shop_reconcile": "shops.nightly_check",
    "tidy": "data.lake_upkeep",
    "voices": "reports.figures",
}


def run_job(database: Database, job_id: str, task_id: str) -> str:
    """Claim, run and end a job.

    Returns: the result for the log. ``"not ours"`` if another worker has the job, it is not due or
    has ended.
    """
    with database.transaction() as session:
        job = jobs.claim(session, job_id, live_processes.worker_name(task_id))
        chosen = languages.of_job(session, job) if job else None
    if job is None:
        log.info("job %s: not ours", job_id)
        return "not ours"
    with (
        traces.span("job.run", job.traceparent, job=job.id, kind=job.kind, attempt=job.attempt),
        use_language(chosen),  # of those who read the result
    ):
        with traces.span("job.wait", job.traceparent, since=job.queued_at):
            pass  # it ended when the job began
        result = _run_claimed(database, job)
        log.info("job %s: %s", job_id, result)
        return result


def _run_claimed(database: Database, job: Job) -> str:
    """Run and end a job of this worker."""
    try:
        outcome = _run_guarded(database, job, may_kill=True)
        completion.complete(database, job, outcome)
        return "done"
    except Cancelled:
        return "cancelled" if completion.cancel(database, job) else "lease lost"
    except (Refused, LimitExceeded) as refusal:
        # A refusal without a field is about the data: it concerns everyone in the thread.
        by_input = isinstance(refusal, BadInput) and refusal.field is not None
        completion.fail(database, job, hints.sentence(refusal), by_input=by_input)
        return "refused" if isinstance(refusal, Refused) else "limit exceeded"
    except BaseException as error:  # a panic of native code is no Exception, but must be reported
        reference = traces.reference(error)
        log.exception("job %s (%s) failed; reference %s", job.id, job.kind, reference)
        text, partly = _failure_sentences(error, database.settings)
        completion.fail(database, job, text, reference, partly=partly)
        if not isinstance(error, Exception):
            raise
        return "failed"


def run_inline(
    database: Database, request: Request, *, user: str, progress: Progress = silent
) -> dict[str, Any]:
    """Run a request in this process, without Slack posts.

    The steps are those of a worker: row, claim, heartbeat, task and completion.

    Raises `Refused`: as the task raises it. `Conflict` if the job was cancelled.
    """
    with database.transaction() as session:
        key = f"here:{secrets.token_hex(12)}"
        stored = jobs.submit_due(session, request, key, requested_by=user).job
        job = jobs.claim(session, stored.id, live_processes.worker_name(jobs.TERMINAL))
    if job is None:  # impossible: no other process has seen the row
        raise Conflict(gettext("Job {id} was taken by a worker.").format(id=stored.id))
    try:
        outcome = _run_guarded(database, job, may_kill=False, also=progress)
        completion.complete(database, job, outcome)
    except Cancelled:
        completion.cancel(database, job)
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
        completion.cancel(database, job, by=job.requested_by)
        raise
    except Refused as refusal:
        said = hints.sentence(refusal)
        text = completion.fail(database, job, said)
        if text != said:
            raise type(refusal)(text) from None
        raise
    except BaseException as error:
        text, partly = _failure_sentences(error, database.settings)
        completion.fail(database, job, text, traces.reference(error), partly=partly)
        raise
    return completion.to_json(outcome.data)


def _run_guarded(
    database: Database, job: Job, *, may_kill: bool, also: Progress = silent
) -> Outcome:
    """Recheck the role and run the task."""
    request = REQUESTS[job.kind].model_validate(job.args)
    with database.reading() as session:
        user_roles.require(session, job.requested_by, request.role, request.deed)
    is_limited = may_kill and job.queue == TRAINING
    limits = Limits(*training_seconds(database.settings)) if is_limited else None
    heartbeat = Heartbeat(database, job, may_kill=may_kill, limits=limits)
    try:
        with heartbeat:
            return _run_task(database, job, request, heartbeat, also)
    except LimitExceeded:  # raised without a text, which the heartbeat has
        raise LimitExceeded(heartbeat.exceeded) from None


def _run_task(
    database: Database, job: Job, request: Request, heartbeat: Heartbeat, also: Progress
) -> Outcome:
    """Call the task's `run`; its progress feeds the heartbeat."""

    def report(done: int, total: int, what: str) -> None:
        heartbeat.progress(done, total, what)
        also(done, total, what)

    context = Context(
        database=database,
        job_id=job.id,
        attempt=job.attempt,
        requested_by=job.requested_by,
        channel=job.channel,
        thread_key=job.thread_key,
        business_at=job.business_at,
        progress=forward_only(report),
    )
    return find_task(job.kind)(request, context)


def find_task(kind: str) -> Callable[[Request, Context], Outcome]:
    """Import the task of a kind of job: its module's ``run_KIND`` or ``run``."""
    module = importlib.import_module(module_name(kind))
    return getattr(module, f"run_{kind}", None) or module.run


@cache
def module_name(kind: str) -> str:
    """Return the module of a kind of job: as in `SHARED`, or ``workers.tasks.<subject>.<kind>``."""
    if kind in SHARED:
        return f"workers.tasks.{SHARED[kind]}"
    subjects = sorted(each.name for each in pkgutil.iter_modules(tasks.__path__) if each.ispkg)
    names = (f"workers.tasks.{subject}.{kind}" for subject in subjects)
    return next(name for name in names if importlib.util.find_spec(name))


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
