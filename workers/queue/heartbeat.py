"""Renew a running job's lease and stop it.

A thread renews the lease, shows the progress and checks for cancellation. A job that was cancelled,
or has lost its lease, ends in three steps:

    1. The next call of ``progress`` raises an exception.
    2. An exception is raised in the task's thread, in any Python code.
    3. After a grace period the process is killed, even in C code. Prefork replaces it.

`workers.queue.reconcile` does the last step from outside if C code does not let this thread run. A
job that exceeds its `Limits` of CPU time or wall time ends in the same steps, as failed.
"""

import ctypes
import logging
import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update

from retention import clock, traces
from retention.db import Database
from retention.db.insert import changed
from retention.db.tables import Job
from retention.errors import Cancelled
from retention.progress import seconds_left
from retention.text import gettext
from workers.delivery import job_messages, outbox
from workers.queue import completion, jobs

log = logging.getLogger(__name__)

CHECK_EVERY = 1.0  # seconds between two reads of cancel_at
SHOW_EVERY = 2.0  # seconds between two updates of the visible progress bar
RENEW_EVERY = 15.0  # seconds between two renewals of the lease
RAISE_AFTER = 1.0  # seconds to call progress before an exception is raised in the task's thread
ARRIVAL_STEPS = 100  # steps until an exception raised in a thread arrives
KILL_AFTER = 3.0  # seconds from the decision to stop until the process is killed


class LimitExceeded(BaseException):
    """The job used more time than it may.

    The text names the limit and the remedy. A `BaseException`, because an ``except Exception`` in
    the task would swallow it.
    """


@dataclass(frozen=True, slots=True)
class Limits:
    """Time that one attempt may use.

    `wall_seconds`: wall time. Much larger than ``cpu_seconds``, because training waits for the CPU
    on a busy machine.
    """

    cpu_seconds: float
    wall_seconds: float

    def exceeded(self, cpu: float, wall: float) -> str | None:
        """Return the failure message if a limit is exceeded.

        `cpu`: CPU seconds since the attempt began.
        `wall`: wall seconds since the attempt began.
        """
        if cpu > self.cpu_seconds:
            sentence = gettext(
                "Stopped after {limit} of CPU time, the limit of a training job. {advice}"
            )
            limit = self.cpu_seconds
        elif wall > self.wall_seconds:
            sentence = gettext(
                "Stopped after {limit}, the longest that a training job may run. {advice}"
            )
            limit = self.wall_seconds
        else:
            return None
        advice = gettext(
            "Train one model at a time (`/retention retrain churn`), name one with --model, or run "
            "`retention retrain` in a terminal without --queue, where no limit applies."
        )
        return sentence.format(limit=_duration(limit), advice=advice)


class Heartbeat:
    """Context manager around the work of one attempt.

    The task calls `progress`.

    `limits`: without them only Celery limits the attempt, and nothing limits it in a terminal.
    """

    def __init__(
        self, database: Database, job: Job, *, may_kill: bool, limits: Limits | None = None
    ) -> None:
        self._database, self._job, self._may_kill = database, job, may_kill
        self._limits = limits
        self._began = time.monotonic()
        self._cpu_before = time.process_time()
        self.exceeded: str | None = None  # the message for the person
        self._worker_thread = threading.get_ident()
        self._over = threading.Event()
        # Held while an exception is raised in the worker, or its end is recorded.
        self._working = threading.Lock()
        self._left = self._raised = False
        self._stopping = False
        self._progress: tuple[int, int, str] = (0, 0, "")
        self._shown: tuple[int, int, str] | None = None
        self._beat_at = self._shown_at = time.monotonic()
        self._lease_until: datetime = clock.wall() + jobs.LEASE
        self._thread = threading.Thread(
            target=traces.carried(self._run), name=f"heartbeat {job.id}", daemon=True
        )

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the heartbeat, which then stops nothing."""
        self._left = True
        with suppress(Cancelled, LimitExceeded), self._working:
            # A pending exception arrives here, where it ends nothing. Withdrawing it would make
            # CPython before 3.13 check for it at every call, for ever if calls are traced.
            for _step in range(ARRIVAL_STEPS if self._raised else 0):
                pass
        self._over.set()
        self._thread.join(timeout=15)

    def progress(self, done: int, total: int, what: str) -> None:
        """Store the progress, or stop the job."""
        self._progress = (done, total, what)
        if self._stopping:
            raise self._reason()

    def _reason(self) -> type[BaseException]:
        return LimitExceeded if self.exceeded else Cancelled

    def _run(self) -> None:
        while not self._over.wait(CHECK_EVERY):
            try:
                if self._must_stop():
                    break
                self._keep()
            except Exception as error:  # the database is down; the lease limits the wait
                log.warning("heartbeat of job %s: %s", self._job.id, error)
                if clock.wall() > self._lease_until:
                    break
        else:
            return
        self._end()

    def _must_stop(self) -> bool:
        with self._database.reading() as session:
            row = session.execute(
                select(Job.state, Job.attempt, Job.cancel_at).where(Job.id == self._job.id)
            ).one_or_none()
        is_ours = row is not None and row.state == "running" and row.attempt == self._job.attempt
        if not is_ours or row.cancel_at is not None:  # type: ignore[union-attr]
            return True
        if self._limits:
            times = time.process_time() - self._cpu_before, time.monotonic() - self._began
            self.exceeded = self._limits.exceeded(*times)
        return self.exceeded is not None

    def _keep(self) -> None:
        """Renew the lease and show progress if due."""
        job, now, progress = self._job, time.monotonic(), self._progress
        has_progress = progress != self._shown and now - self._shown_at >= SHOW_EVERY
        # A suspended machine stops the monotonic clock.
        was_suspended = clock.wall() > self._lease_until
        if not has_progress and not was_suspended and now - self._beat_at < RENEW_EVERY:
            return
        until = clock.wall() + jobs.LEASE
        done, total, what = progress
        with self._database.transaction() as session:
            ours = Job.id == job.id, Job.state == "running", Job.attempt == job.attempt
            shown = {"progress_done": done, "progress_total": total, "progress_text": what[:255]}
            if not changed(session, update(Job).where(*ours).values(lease_until=until, **shown)):
                return  # `_must_stop` sees the reason next
            if has_progress and outbox.channel_of(session, f"job:{job.id}") is not None:
                left = seconds_left(done / total if total else 0.0, now - self._began)
                job_messages.show_progress(session, session.get_one(Job, job.id), left)
        self._beat_at, self._lease_until = now, until
        if has_progress:
            self._shown, self._shown_at = progress, now

    def _end(self) -> None:
        self._stopping = True
        if self._over.wait(RAISE_AFTER):
            return
        with self._working:
            if self._left:
                return
            self._raised = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._worker_thread), ctypes.py_object(self._reason())
            )
        if self._over.wait(KILL_AFTER - RAISE_AFTER) or not self._may_kill:
            return
        with self._working:
            if self._left:
                return
            log.warning("job %s does not stop by itself; killing its process", self._job.id)
            try:
                if self.exceeded:
                    completion.fail(self._database, self._job, self.exceeded)
                else:
                    completion.cancel(self._database, self._job)
            finally:
                os.kill(os.getpid(), signal.SIGKILL)


def _duration(seconds: float) -> str:
    for size, singular, plural in (
        (3600, gettext("1 hour"), gettext("{number:g} hours")),
        (60, gettext("1 minute"), gettext("{number:g} minutes")),
        (1, gettext("1 second"), gettext("{number:g} seconds")),
    ):
        if seconds >= size:
            return singular if seconds == size else plural.format(number=seconds / size)
    return gettext("{number:g} seconds").format(number=seconds)


def grace_ended_before(now: datetime) -> datetime:
    """Return the time of cancellations without grace left.

    `now`: wall-clock time.
    """
    return now - timedelta(seconds=KILL_AFTER + 0.5)
