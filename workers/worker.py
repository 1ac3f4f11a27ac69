"""Load the Celery app for ``celery -A workers.worker``.

The parent uses SQL only in its own event loop, on a connection that it closes at once, never across
a fork. Each child opens its own database with its first job.
"""

import logging
import os
from functools import cache
from pathlib import Path
from typing import Any

from celery.signals import setup_logging, worker_process_init, worker_ready

from retention import logs
from retention.db import Database
from retention.settings import load_settings_or_exit
from workers import processes
from workers.app import RUN_JOB, TRAINING, make_app
from workers.idle_exit import IdleExit
from workers.tasks.runner import run_job
from workers.warm_up import WarmUp, is_wanted

settings = load_settings_or_exit()
app = make_app(settings)
log = logging.getLogger(__name__)
idle_exit = IdleExit()
warm_up = WarmUp(settings)


@cache
def _database(pid: int) -> Database:
    return Database.of(settings)


@setup_logging.connect
def _configure_logging(**_: Any) -> None:
    """Use our log format; Celery leaves logging alone then."""
    logs.configure()


@worker_process_init.connect
def _start_child(**_: Any) -> None:
    _database.cache_clear()  # the parent's
    if is_wanted(settings, tuple(app.amqp.queues.consume_from)):
        idle_exit.stays = True
        warm_up.start()


@worker_ready.connect
def _report(sender: Any, **_: Any) -> None:
    """Report this worker every few seconds."""
    queues = "+".join(sorted(sender.app.amqp.queues.consume_from))
    if queues == TRAINING:
        _share_niceness_with_session()

    def report() -> None:
        database = Database(settings.database_url.get_secret_value())
        try:
            processes.report(database, settings, f"worker:{queues}")
        finally:
            database.engine.dispose()

    report()
    sender.timer.call_repeatedly(processes.REPORT_EVERY, report)


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
        log.info(
            "job %s: %s", job_id, run_job(settings, _database(os.getpid()), job_id, self.request.id)
        )
