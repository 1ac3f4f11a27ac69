"""Load the Celery app for ``celery -A workers.worker``.

The parent uses SQL only in its own event loop, on a connection that it closes at once, never across
a fork. Each child opens its own database with its first job.
"""

import logging
import os
from functools import cache
from pathlib import Path
from typing import Any

from celery.apps import worker as celery_worker
from celery.bootsteps import StartStopStep
from celery.signals import setup_logging, worker_process_init, worker_process_shutdown, worker_ready
from celery.worker.consumer import Tasks

from retention import logs, traces
from retention.db import Database
from retention.settings import load_settings_or_exit
from workers.app import RUN_JOB, TRAINING, make_app
from workers.queue import live_processes
from workers.queue.demo_preload import WarmUp, is_wanted
from workers.queue.idle_exit import IdleExit
from workers.queue.store_follower import EVERY, StoreFollower
from workers.tasks.runner import run_job

settings = load_settings_or_exit()
app = make_app(settings)
log = logging.getLogger(__name__)
traces.service = "retention-worker"
idle_exit = IdleExit()
warm_up = WarmUp(settings)
follower = StoreFollower()


@cache
def _database(pid: int) -> Database:
    return Database.of(settings)


@setup_logging.connect
def _configure_logging(**_: Any) -> None:
    """Use our log format; Celery leaves logging alone then."""
    logs.configure(form=settings.log_format)
    if settings.log_format == "json":  # Celery prints what its signal handlers do
        celery_worker.safe_say = lambda message, *_: log.info("%s", message)


@worker_process_init.connect
def _start_child(**_: Any) -> None:
    _database.cache_clear()  # the parent's
    if is_wanted(settings, tuple(app.amqp.queues.consume_from)):
        idle_exit.stays = True
        warm_up.start()


@worker_process_shutdown.connect
def _end_child(**_: Any) -> None:
    traces.flush()


class Reports(StartStopStep):
    """Report this worker every few seconds, and compare the lake's copies with their store.

    Celery starts this step with each connection to the broker. The timers of the last one are gone.
    """

    requires = (Tasks,)
    timers: tuple[Any, ...] = ()

    def start(self, parent: Any) -> None:
        """Report now and from now on."""
        self.stop(parent)
        self._report()
        follower.start(settings)
        repeatedly = parent.timer.call_repeatedly
        self.timers = (
            repeatedly(live_processes.REPORT_EVERY, self._report),
            repeatedly(EVERY, follower.start, (settings,)),
        )

    def stop(self, parent: Any) -> None:
        """Stop the reports."""
        for timer in self.timers:
            timer.cancel()
        self.timers = ()

    def _report(self) -> None:
        database = Database(settings.database_url.get_secret_value(), settings)
        try:
            live_processes.report(database, f"worker:{_queues()}")
        finally:
            database.engine.dispose()


app.steps["consumer"].add(Reports)


def _queues() -> str:
    return "+".join(sorted(app.amqp.queues.consume_from))


@worker_ready.connect
def _lower_priority(**_: Any) -> None:
    if _queues() == TRAINING:
        _share_niceness_with_session()


def _share_niceness_with_session() -> None:
    """Apply this worker's niceness to its session.

    If Linux groups processes by session (autogroup), niceness only counts inside a session. The
    supervisor gives each worker its own session, which needs the same niceness. Another program's
    session stays unchanged.
    """
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness <= 0 or os.getsid(0) != os.getpid():
        return
    try:
        Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")
    except OSError as error:  # no autogroup on this system: niceness counts everywhere
        log.debug("no session niceness: %s", error)


@app.task(name=RUN_JOB, bind=True)
def run(self: Any, job_id: str) -> None:
    """Run one job; see `workers.tasks.runner`."""
    with warm_up.waits(), idle_exit.job():
        run_job(_database(os.getpid()), job_id, self.request.id)
