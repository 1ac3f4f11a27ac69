"""Run jobs in processes of their own, and end them with SIGKILL at random moments."""

import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sqlalchemy import update

from retention.db import Database
from retention.db.migrate import upgrade
from retention.db.tables import Job
from retention.settings import Settings
from tests.postgres import make_empty
from tests.world import change
from workers.job_request_base import Request
from workers.queue import jobs
from workers.tasks.runner import run_job

# Called in the process before its job, with the pipe to the run.
Prepare = Callable[[Any], None]

attempts: Counter[str] = Counter()  # kills by kind of job, also those that came too late
_WORLDS = multiprocessing.get_context("forkserver")


@contextmanager
def installation(*preload: str) -> Iterator[tuple[Settings, Database]]:
    """Yield an installation for jobs that are killed.

    Parameters
    ----------
    *preload : str
        Modules that a job imports. Each process starts with them, so that it dies at work and not
        while it loads.
    """
    _WORLDS.set_forkserver_preload(["tests.faults.killed_jobs", *preload])
    with tempfile.TemporaryDirectory(prefix="faults") as home:
        settings = settings_of(home)
        if url := os.environ.get("RETENTION_DATABASE_URL"):
            make_empty(url)  # an earlier installation of this process has left its rows
        upgrade(settings)
        database = Database.of(settings)
        yield settings, database
        database.dispose()


def settings_of(home: str | Path) -> Settings:
    """Return the settings of an installation."""
    return Settings(home=Path(home), admins="U0ADMIN", _env_file=None)


@dataclass(frozen=True, slots=True)
class RunningJob:
    """A job in a process of its own; the pipe has what `Prepare` sends."""

    database: Database
    job_id: str
    process: BaseProcess
    pipe: Connection

    def kill_after(self, seconds: float | None) -> bool:
        """Kill it after some seconds, or wait for its end; return whether it was still running."""
        self.process.join(seconds)
        was_alive = self.process.is_alive()
        attempts["kills"] += seconds is not None
        self.process.kill()
        self.process.join()
        with self.database.transaction() as session:  # as if its lease were over
            session.execute(
                update(Job).where(Job.id == self.job_id, Job.state != "done").values(state="failed")
            )
        return was_alive


def start(settings: Settings, database: Database, request: Request, prepare: Prepare) -> RunningJob:
    """Submit a job, and start it in a process; return when the job begins.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    database : Database
        Of the installation.
    request : Request
        Of the job.
    prepare : callable
        Function of a module, called in the process.
    """
    job = change(database, jobs.submit_due, request, f"{request.kind}:{time.monotonic_ns()}").job
    begins, told = _WORLDS.Pipe(duplex=False)
    process = _WORLDS.Process(target=_work, args=(str(settings.home), job.id, prepare, told))
    process.start()
    told.close()  # so that a process that dies at once is an error, not a wait
    begins.recv()
    return RunningJob(database, job.id, process, begins)


def _work(home: str, job_id: str, prepare: Prepare, told: Any) -> None:
    prepare(told)
    settings = settings_of(home)
    told.send("begins")
    run_job(Database.of(settings), job_id, "test")
