"""Run a parsed command in the terminal, and explain its errors."""

import json
import logging
import math
import os
import secrets
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import click
from jinja2 import TemplateNotFound
from pydantic import ValidationError
from sqlalchemy import exc

from bot.commands.tree import TERMINAL, Answer, Call, Command
from bot.services import Services
from retention import clock, logs
from retention.db import audit
from retention.errors import BadInput, NotAllowed
from retention.faults import diagnose
from retention.paths import create_private_folder
from retention.progress import Progress
from retention.settings import Settings, load_settings
from retention.templating import bar, text
from retention.text import LANGUAGE, escape_controls, gettext, use_language
from workers import languages, user_roles

if TYPE_CHECKING:
    from retention.db.tables import Job
    from workers.job_requests import Request

LINE_EVERY = 10.0  # seconds between lines of progress where there is no terminal


def run(command: Command, params: dict[str, Any]) -> bool:
    """Run a parsed command and print its result. Return whether it failed."""
    settings = load_settings()
    as_json, user = params.pop("as_json", False), params.pop("as_user", user_roles.OPERATOR)
    to_queue = params.pop("to_queue", False)
    if command.starts_processes:
        logging.getLogger().setLevel(logging.INFO)
    elif not command.without_database:
        _create_database(settings)
    services = Services.for_terminal(settings)
    with use_language(_language(command, services)):
        with ProgressBar() as progress:
            key = f"terminal:{secrets.token_hex(12)}"
            call = Call(services, user, TERMINAL, key, None, progress)
            with nullcontext() if user == user_roles.OPERATOR else audit.in_the_terminal():
                template, data, failed = _execute(command, call, params, to_queue)
            if command.after and not to_queue:
                command.after(call, data, **params)
        if as_json:
            text = json.dumps(_finite(data), ensure_ascii=False, default=str, allow_nan=False)
            shown = escape_controls(text)
            click.echo(shown)
        elif not command.starts_processes:
            click.echo(printed(template, data, settings))
    return failed


def _language(command: Command, services: Services) -> str | None:
    """Return the workspace's language, unless the environment names one."""
    if LANGUAGE in os.environ or command.starts_processes or command.without_database:
        return None
    with suppress(exc.SQLAlchemyError), services.database.reading() as session:
        return languages.of(session)
    return None  # the command explains what is wrong with the database


def _create_database(settings: Settings) -> None:
    """Create a missing database. `retention db upgrade` migrates an old one."""
    path = settings.database_url.get_secret_value().removeprefix("sqlite:///")
    if path.startswith("/") and not Path(path).exists():
        from retention.db.migrate import upgrade

        create_private_folder(settings.home)
        upgrade(settings)


def _execute(
    command: Command, call: Call, params: dict[str, Any], to_queue: bool
) -> tuple[str, dict[str, Any], bool]:
    services = call.services
    if not (command.starts_processes or command.without_database):
        try:
            services.require(call.user, command.role, command.deed)
        except NotAllowed:
            with call.database.transaction() as session:
                user_roles.record_refusal(session, call.user, command.path)
            raise
    result = command.handle(call, params)
    if isinstance(result, Answer):
        return result.template, result.data, result.failed
    with services.database.reading() as session:
        result.check(session)
    if to_queue:
        return "bot/queued", _queue(result, call), False
    from workers.tasks import runner

    data = runner.run_inline(services.database, result, user=call.user, progress=call.progress)
    return result.kind, data, False


def _queue(request: "Request", call: Call) -> dict[str, Any]:
    from workers.queue import jobs

    request.check_worker_limits(call.settings)
    job = submit(request, call)
    if call.user != user_roles.OPERATOR:  # the worker's own entries cannot name the system's user
        with call.services.database.transaction() as session:
            details = {"kind": job.kind}
            audit.record(session, call.user, "job.queue", job.id, clock.now(), details)
    woken = jobs.wake(call.services.settings, job)
    return {"job": job.id, "kind": job.kind, "state": job.state, "queue_away": not woken}


def submit(request: "Request", call: Call) -> "Job":
    """Store a request of the terminal as a job."""
    from workers.queue import jobs

    services = call.services
    with services.database.transaction() as session:
        return jobs.submit_due(session, request, call.key, requested_by=call.user).job


def printed(template: str, data: dict[str, Any], settings: Settings) -> str:
    """Render a result as text for the terminal."""
    try:
        return text(
            f"terminal/{template}.txt.j2", zone=settings.timezone, result=data, **data
        ).rstrip("\n")
    except TemplateNotFound:
        return text("terminal/any.txt.j2", result=data).rstrip("\n")


def _finite(data: Any) -> Any:
    """Replace NaN and infinity by null, which JSON has."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def write_message(message: str) -> None:
    """Write a line to standard error, in the place of the progress bar."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    click.echo(message, err=True)


class ProgressBar:
    """Progress on standard error: a bar in a terminal, a line every ten seconds elsewhere.

    A thread writes the lines, because a step may take long without a report.
    """

    def __init__(self) -> None:
        self._width = 0
        self._next_draw = 0.0
        self._last: tuple[int, int, str] | None = None
        self._has_ended = Event()
        self._lines: Thread | None = None

    def __enter__(self) -> Progress:
        return self._draw if sys.stderr.isatty() else self._note

    def _note(self, done: int, total: int, what: str) -> None:
        self._last = done, total, what
        if self._lines is None:
            self._lines = Thread(target=self._write_lines, name="progress", daemon=True)
            self._lines.start()

    def _write_lines(self) -> None:
        while not self._has_ended.wait(LINE_EVERY):
            if self._last:
                done, total, what = self._last
                share = f"{100 * done / total:.0f}%: " if total else ""
                sys.stderr.write(f"{share}{what}\n")
                sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        if self._lines:
            self._lines.join()
        if self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()

    def _draw(self, done: int, total: int, what: str) -> None:
        if time.monotonic() < self._next_draw and done < total:
            return
        self._next_draw = time.monotonic() + 0.1
        share = f"{100 * done / total:3.0f}%" if total else "    "
        line = f"{bar(done, total, 24)} {share}  {what}"[:100]
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = len(line)


def explain(error: Exception) -> tuple[str, bool]:
    """Return an error as one sentence, and whether the input caused it."""
    if isinstance(error, ValidationError):
        return error.errors()[0]["msg"].removeprefix("Value error, "), True
    if fault := _fault(error):
        return fault, False
    if isinstance(error, exc.OperationalError | exc.ProgrammingError):
        return _database_error(error), False
    return _unexpected_error(error), False


def _database_error(error: exc.DBAPIError) -> str:
    reason = str(error.orig).strip().splitlines()[0]
    signs = ("no such table", "no such column", "has no column", "does not exist")
    if any(sign in reason for sign in signs):
        return gettext(
            "The database has not this version's schema ({reason}); run: retention db upgrade"
        ).format(reason=reason)
    return gettext("The database does not do what it should: {reason}").format(reason=reason)


def _fault(error: Exception) -> str:
    """Return a fault of the machine, or "". The machine has disk, database and lake."""
    try:
        fault = diagnose(error, load_settings())
    except BadInput:
        return ""
    return str(fault) if fault else ""


def _unexpected_error(error: Exception) -> str:
    """Return a sentence and write the traceback."""
    reference = secrets.token_hex(4)
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    try:
        path = load_settings().home / logs.TRACES
        create_private_folder(path.parent)
        logs.write_trace(path, reference, error, clock.wall().date())
    except (OSError, BadInput):
        return gettext("Failed: {kind}: {message}").format(kind=type(error).__name__, message=first)
    text = gettext("Failed: {kind}: {message} (the trace is in {path} under {reference})")
    return text.format(kind=type(error).__name__, message=first, path=path, reference=reference)
