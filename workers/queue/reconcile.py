"""Repair jobs and delete old rows at regular intervals.

The reconciler publishes lost wake-ups again, hands on the jobs of dead workers, ends jobs that do
not react to their cancellation, and drops rows that are not needed. Two reconcilers may run at
once.
"""

import logging
from collections.abc import Sequence
from datetime import date, timedelta

from sqlalchemy import ColumnElement, delete, or_, select, update

from retention import clock, traces
from retention.db import Database
from retention.db.tables import (
    SLACK_STATES,
    Delivery,
    File,
    Job,
    JobJoin,
    Process,
    StoredClick,
    Thread,
)
from retention.pictures import extra as pictures_extra
from retention.privacy.periods import keep
from retention.settings import Settings
from retention.text import gettext
from workers import languages
from workers.app import make_app
from workers.delivery import outbox
from workers.job_requests import Pictures, Tidy
from workers.queue import broker, completion, heartbeat, jobs, live_processes
from workers.queue.quotas import OPEN

log = logging.getLogger(__name__)

REPUBLISH_AFTER = timedelta(seconds=20)  # time for a worker to claim a published job
NIGHT_HOURS = (3, 4)  # local time
DROPPED_AT_ONCE = 2000  # of each kind, per hour
SILENT_AFTER = timedelta(minutes=4)  # without a heartbeat after the lease, a process hangs
MAX_LOST_WORKERS = 3  # a job that killed this many workers fails


def republish(database: Database) -> list[str]:
    """Publish jobs again that lost their wake-up.

    Jobs that kill workers fail. The broker is searched for each job every `REPUBLISH_AFTER`. A
    wake-up that waits behind a long job needs no second one.
    """
    settings = database.settings
    now = clock.wall()
    with database.transaction() as session:
        waiting = session.scalars(
            select(Job)
            .where(
                Job.team_id == settings.team_id,
                Job.cancel_at.is_(None),
                jobs.claimable(now),
                or_(
                    Job.enqueued_at.is_(None),
                    ~Job.enqueued_at.between(now - REPUBLISH_AFTER, now + REPUBLISH_AFTER),
                ),
            )
            .order_by(Job.created_at)
            .limit(500)
            .with_for_update(skip_locked=True)
        ).all()
        failing = [job for job in waiting if job.state == "running" and _is_hopeless(job)]
        lost = [job for job in waiting if job not in failing]
        session.execute(
            update(Job).where(Job.id.in_([job.id for job in lost])).values(enqueued_at=now)
        )
    for job in failing:
        _fail(database, job)
    queued = broker.queued_job_ids(settings, {job.queue for job in lost})
    published = []
    for job in lost:
        if job.id in queued:
            continue
        if not jobs.wake(settings, job):
            break  # the broker is down; the next round tries again
        published.append(job.id)
    return published


def _fail(database: Database, job: Job) -> None:
    """Fail a job that took its workers with it."""
    text, partly = (
        gettext("Its worker stopped before the end (attempt {attempt}); nothing was published."),
        gettext("Its worker stopped before the end (attempt {attempt})."),
    )
    text, partly = text.format(attempt=job.attempt), partly.format(attempt=job.attempt)
    with traces.span("job.lost", job.traceparent, job=job.id, kind=job.kind):
        log.error("job %s (%s) took %s workers with it", job.id, job.kind, job.lost + 1)
        reference = traces.reference(ChildProcessError())
        completion.fail(database, job, text, reference, partly=partly)


def release_dead(database: Database) -> list[str]:
    """Release jobs of dead processes that this process can see."""
    running = _running(database, Job.lease_until > clock.wall())
    orphaned = [job for job in running if live_processes.is_gone(job.worker)]
    for job in orphaned:
        with database.transaction() as session:
            session.execute(
                update(Job)
                .where(Job.id == job.id, Job.state == "running", Job.attempt == job.attempt)
                .values(lease_until=clock.wall(), enqueued_at=None)
            )
    return [job.id for job in orphaned]


def end_cancelled(database: Database) -> list[str]:
    """End jobs that ignore their cancellation.

    The heartbeat in the process does this first. It cannot if C code does not let its thread run.
    Then the job is ended here by compare-and-set and its process is killed by the worker's parent.
    """
    late = _running(database, Job.cancel_at < heartbeat.grace_ended_before(clock.wall()))
    ended = [job for job in late if completion.cancel(database, job)]
    for job in ended:
        _kill(database.settings, job)
    return [job.id for job in ended]


def kill_silent(database: Database) -> list[str]:
    """Kill processes of jobs without a heartbeat for minutes.

    The lease has ended, and the job is published again. But a process that hangs would keep the
    only place of its worker, and the next attempt would wait for it.
    """
    silent = _running(database, Job.lease_until < clock.wall() - SILENT_AFTER)
    hanging = [job for job in silent if not live_processes.is_gone(job.worker)]
    for job in hanging:
        log.warning("job %s (%s) has no heartbeat; killing its process", job.id, job.kind)
        _kill(database.settings, job)
    return [job.id for job in hanging]


def _running(database: Database, which: ColumnElement[bool]) -> Sequence[Job]:
    own = Job.team_id == database.settings.team_id, Job.state == "running"
    with database.reading() as session:
        return session.scalars(select(Job).where(*own, which)).all()


def tidy(database: Database) -> None:
    """Delete old deliveries, processes and OAuth states.

    At night it also tidies the lake and Slack's messages. Sensitive content of unsent files is
    dropped, too. `retention.privacy.periods` has the times.
    """
    local = clock.wall().astimezone(database.settings.zone)
    if local.hour in NIGHT_HOURS:
        _tidy_lake(database, local.date())
        _tidy_messages(database)
    before = clock.wall() - keep("requests")
    with database.transaction() as session:
        is_open = JobJoin.job_id.in_(select(Job.id).where(Job.state.in_(OPEN)))
        for old in (
            delete(Delivery).where(Delivery.at < before),
            delete(StoredClick).where(StoredClick.at < before),
            delete(JobJoin).where(JobJoin.at < before, ~is_open),
            delete(Process).where(Process.seen_at < before),
            delete(SLACK_STATES).where(SLACK_STATES.c.expire_at < before.replace(tzinfo=None)),
        ):
            session.execute(old)
        outbox.drop_sensitive_content(
            session, File.created_at < clock.wall() - keep("unsent_files")
        )


def _tidy_messages(database: Database) -> None:
    """Drop some delivered messages and files."""
    with database.transaction() as session:
        outbox.drop_delivered_content(session, clock.wall() - keep("files"), DROPPED_AT_ONCE)
        outbox.drop_sent(session, clock.wall() - keep("messages"), DROPPED_AT_ONCE)
        threads_before = clock.wall() - keep("threads")
        session.execute(delete(Thread).where(Thread.updated_at < threads_before))
        languages.forget_threads(session, threads_before)


def _tidy_lake(database: Database, night: date) -> None:
    """Submit the nightly job that tidies the lake.

    It is a job, because it needs a process that may read the lake.
    """
    with database.transaction() as session:
        key = f"tidy:{database.settings.team_id}:{night}"
        submitted = jobs.submit_due(session, Tidy(), key)
    jobs.wake_all(database.settings, submitted.new)
    if database.settings.product_pictures and pictures_extra.is_installed():
        with database.transaction() as session:
            key = f"pictures:{database.settings.team_id}:{night}"
            submitted = jobs.submit_due(session, Pictures(), key)
        jobs.wake_all(database.settings, submitted.new)


def _is_hopeless(job: Job) -> bool:
    """Return whether a job must not run again. The person at the terminal has seen that."""
    return job.lost + 1 >= MAX_LOST_WORKERS or job.worker.startswith(f"{jobs.TERMINAL}@")


def _kill(settings: Settings, job: Job) -> None:
    task_id, _, _ = job.worker.partition("@")
    if task_id == jobs.TERMINAL or not broker.is_reachable(settings):
        return  # a person's process, or unreachable; the fence keeps the job from publishing
    try:
        make_app(settings).control.revoke(task_id, terminate=True, signal="SIGKILL")
    except Exception as error:  # the broker has just stopped
        log.warning("cannot reach the worker of job %s: %s", job.id, error)
