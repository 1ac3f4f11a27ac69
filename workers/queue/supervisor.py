"""Supervise the processes of ``retention run``.

The embedded broker is one of them unless ``RETENTION_BROKER_URL`` names another. A single role
replaces this process, because a container's platform restarts it.
"""

import ctypes
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import IO

from sqlalchemy import Executable, delete, update
from sqlalchemy.exc import SQLAlchemyError

from retention import clock
from retention.db import Database
from retention.db.tables import Job, Process
from retention.errors import BadInput
from retention.paths import create_private_folder
from retention.settings import Settings
from retention.text import gettext
from workers.app import INTERACTIVE, QUEUES, TRAINING, TRAINING_NICENESS, training_environment
from workers.queue import broker, jobs, live_processes
from workers.queue.child_environments import ChildEnvironments

log = logging.getLogger(__name__)

ROLES = ("bot", "worker", "tick", "sender", "live")
STOP_TIMEOUT = 8.0  # seconds for the children to end
INTERACTIVE_SLOTS = 2  # so that a customer card waits for no preview or download
STABLE_AFTER = 60.0  # seconds after which an exit restarts a child at once
_PDEATHSIG = 1
_MAX_LOG_BYTES = 10_000_000  # as many bytes are kept in a second file
# Against leaks: a worker's child with a higher peak is replaced after its job.
# `workers.queue.idle_exit` ends idle ones.
_MAX_CHILD_KIB = 2_000_000


@dataclass(slots=True)
class Child:
    """A process that is kept alive."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)  # in addition to the supervisor's
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    again_at: float = field(default=0.0)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


def run(settings: Settings, roles: Sequence[str] = ROLES, queue: str | None = None) -> None:
    """Run some roles until SIGTERM or Ctrl-C.

    `roles`: some of `ROLES`. A single one replaces this process. Several are supervised, with the
    embedded broker.
    `queue`: queue of a single worker. Without it, the worker serves all queues, one job at a time.
    """
    for role in roles:
        if role not in ROLES:
            text = gettext("{role!r} is no role; use one of {roles}")
            raise BadInput(text.format(role=role, roles=", ".join(ROLES)))
    if queue is not None and queue not in QUEUES:
        text = gettext("{queue!r} is no queue; use one of {queues}")
        raise BadInput(text.format(queue=queue, queues=", ".join(QUEUES)))
    if len(roles) == 1:
        queues = (queue,) if queue else QUEUES
        command = _command(roles[0], queues)
        environments = ChildEnvironments(settings)
        environments.write()
        role = f"{roles[0]}:{queue}" if queue else roles[0]
        environment = environments.of(role) | _extra_environment(settings, roles[0], queues)
        os.execve(command[0], command, environment)  # noqa: S606 - no shell wanted
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    supervisor = Supervisor(settings, roles)
    print(supervisor.summary(), file=sys.stderr, flush=True)
    supervisor.run(stop)


class Supervisor:
    """Keeps the processes of some roles alive.

    `roles`: some of `ROLES`. Without a Slack app the bot and the sender are left out, and without a
    key for live events ``live``.
    """

    def __init__(self, settings: Settings, roles: Sequence[str] = ROLES) -> None:
        self._settings = settings
        self._embedded = not settings.broker_url.get_secret_value()
        self._has_slack = bool(settings.slack_bot_token or settings.oauth)
        self._logs = settings.home / "logs"
        self._logs_json = settings.log_format == "json"
        unused = set() if self._has_slack else {"bot", "sender"}
        unused |= set() if settings.takes_events else {"live"}
        started = [role for role in roles if role not in unused]
        self.children = [Child("broker", broker.command(settings))] if self._embedded else []
        for role in started:
            for queue in QUEUES if role == "worker" else ():
                own = (queue,)
                child = Child(
                    f"{role}:{queue}", _command(role, own), _extra_environment(settings, role, own)
                )
                self.children.append(child)
            if role != "worker":
                self.children.append(Child(role, _command(role)))
        self._environments = ChildEnvironments(settings)

    def summary(self) -> str:
        """Return the list of processes for the terminal."""
        names = ", ".join(child.name for child in self.children)
        text = gettext("Running {names}; logs in {folder}. Stop with Ctrl-C.")
        if self._logs_json:
            text = gettext("Running {names}; logs on standard output. Stop with Ctrl-C.")
        sentences = [text.format(names=names, folder=self._logs)]
        if not self._has_slack:
            sentences.append(gettext("No Slack app is configured: workers only, and posts wait."))
        return " ".join(sentences)

    def run(self, stop: threading.Event) -> None:
        """Supervise until ``stop`` is set, then stop all."""
        database = Database(self._settings.database_url.get_secret_value(), self._settings)
        self._forget_processes(database)
        reported = 0.0
        try:
            while not stop.is_set():
                self._keep_alive()
                if time.monotonic() - reported >= live_processes.REPORT_EVERY:
                    reported = time.monotonic()
                    live_processes.report(database, "supervisor", children=self._pids())
                    self._shorten_logs()
                stop.wait(0.2)
        finally:
            self._stop()
            self._environments.remove()
            self._forget_processes(database)
            self._release(database)
            database.engine.dispose()

    # ------------------------------------------------------------ children

    def _keep_alive(self) -> None:
        for child in self.children:
            if child.alive:
                continue
            now = time.monotonic()
            if child.process is not None and not child.again_at:
                child.failures = 0 if now - child.started > STABLE_AFTER else child.failures + 1
                wait = min(30.0, 0.25 * 2**child.failures)
                log.warning(
                    "%s exited (%s); again in %.1f s", child.name, child.process.returncode, wait
                )
                child.again_at = now + wait
            if now >= child.again_at:
                self._start(child)

    def _start(self, child: Child) -> None:
        self._environments.write()
        environment = self._environments.of(child.name)
        with self._log(child.name) as sink:
            child.process = subprocess.Popen(
                child.command,
                env=environment | child.environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,  # only we handle Ctrl-C
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        child.started, child.again_at = time.monotonic(), 0.0
        if child.name == "broker":
            self._wait_for_broker(child)

    def _wait_for_broker(self, child: Child) -> None:
        until = time.monotonic() + 10
        while child.alive and time.monotonic() < until and not broker.is_reachable(self._settings):
            time.sleep(0.02)

    def _log(self, name: str) -> AbstractContextManager[IO[bytes] | None]:
        """Open the file of a child's output. None is our own output."""
        if self._logs_json and name != "broker":  # whose lines are no JSON
            return nullcontext()
        create_private_folder(self._logs)
        return (self._logs / f"{name.replace(':', '-')}.log").open("ab")

    def _shorten_logs(self) -> None:
        """Move long logs aside. They may run for a year."""
        for path in self._logs.glob("*.log"):
            with suppress(OSError):  # deleted just now, or another user's
                if path.stat().st_size > _MAX_LOG_BYTES:
                    with suppress(OSError):  # on a full disk the old log is lost
                        shutil.copyfile(path, path.with_suffix(".log.1"))
                    os.truncate(path, 0)

    def _stop(self) -> None:
        """Stop the broker after its users."""
        others = [child for child in self.children if child.name != "broker"]
        self._end(others, STOP_TIMEOUT)
        self._end([child for child in self.children if child.name == "broker"], 5.0)

    def _end(self, children: Sequence[Child], patience: float) -> None:
        living = [child.process for child in children if child.process is not None]
        for process in living:
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + patience
        for process in living:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("process %s does not stop; killing it", process.pid)
            _kill_group(process.pid)
            process.wait()

    def _pids(self) -> dict[str, int]:
        alive = ((child.name, child.process) for child in self.children if child.alive)
        return {name: process.pid for name, process in alive if process}

    # ------------------------------------------------------------ after a stop

    def _forget_processes(self, database: Database) -> None:
        """Delete the reports of the last run's processes."""
        ours = delete(Process).where(Process.name.like(f"%@{socket.gethostname()}"))
        _try(database, ours, "tidy the list of processes")

    def _release(self, database: Database) -> None:
        """End the leases of the killed workers of this place.

        The next start then need not wait for them. Jobs in a person's terminal go on.
        """
        ours = update(Job).where(
            Job.state == "running",
            Job.worker.endswith(f":{live_processes.place()}"),
            ~Job.worker.startswith(f"{jobs.TERMINAL}@"),
        )
        _try(database, ours.values(lease_until=clock.wall()), "hand back leases")


def _try(database: Database, statement: Executable, what: str) -> None:
    try:
        with database.transaction() as session:
            session.execute(statement)
    except SQLAlchemyError as error:
        log.warning("cannot %s: %s", what, error)


def _command(role: str, queues: Sequence[str] = QUEUES) -> list[str]:
    """Return the command line of a role. Training alone runs at the lowest priority."""
    if role == "bot":
        return [sys.executable, "-m", "bot.http.server"]
    if role != "worker":
        return [sys.executable, "-m", "workers.service_process", role]
    slots = INTERACTIVE_SLOTS if tuple(queues) == (INTERACTIVE,) else 1
    celery = (sys.executable, "-m", "celery", "--app", "workers.worker", "--quiet", "worker")
    return [
        *_nice(queues),
        *celery,
        f"--queues={','.join(queues)}",
        f"--concurrency={slots}",
        f"--hostname={'+'.join(queues)}@%h",
        "--loglevel=INFO",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        f"--max-memory-per-child={_MAX_CHILD_KIB}",
    ]


def _nice(queues: Sequence[str]) -> list[str]:
    program = shutil.which("nice")
    # No increment if the supervisor itself runs at low priority.
    increment = TRAINING_NICENESS - os.getpriority(os.PRIO_PROCESS, 0)
    needs_nice = increment > 0 and tuple(queues) == (TRAINING,)
    return [program, "-n", str(increment)] if program and needs_nice else []


def _extra_environment(settings: Settings, role: str, queues: Sequence[str]) -> dict[str, str]:
    only_training = role == "worker" and tuple(queues) == (TRAINING,)
    return training_environment(settings) if only_training else {}


def _die_with_parent() -> None:
    """Stop this child when the supervisor ends."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGTERM)


def _kill_group(pid: int) -> None:
    """Kill the remaining children of a killed worker."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
