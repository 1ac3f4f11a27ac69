"""The terminal's `retention`: the same tree as in Slack, with files, progress and exit statuses.

Standard output carries the result and nothing else; progress and sentences go to standard error.
Exit status: 0 done, 2 bad input, 1 failed.
"""

import json
import logging
import math
import secrets
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from jinja2 import TemplateNotFound
from pydantic import ValidationError
from sqlalchemy import exc

from bot.commands import TERMINAL, Answer, Call, Command, root
from bot.commands.parsing import sentence
from bot.middleware import replace_unstorable
from bot.services import Services
from retention import logs
from retention.errors import BadInput, Cancelled, Refused
from retention.faults import diagnose
from retention.folders import private
from retention.progress import Progress, silent
from retention.settings import Settings, load_settings
from retention.templating import bar, straight, text
from retention.text import gettext
from workers import roles
from workers.requests import Request

DONE, FAILED, BAD_INPUT = 0, 1, 2


def main(args: list[str] | None = None) -> None:
    """Run one command and leave the process with its exit status."""
    logs.configure(logging.ERROR)
    sys.exit(run(args))


def _refuse_bytes(args: list[str]) -> None:
    """Refuse a word of bytes that are no text: no database, message or reader of files takes it."""
    for word in args:
        if replace_unstorable(word) != word:
            shown = word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            raise BadInput(
                gettext("{shown!r} holds bytes that are no text; write it in UTF-8.").format(
                    shown=shown
                )
            )


def run(args: list[str] | None = None) -> int:
    """Run one command; say what went wrong in one sentence."""
    try:
        _refuse_bytes(sys.argv[1:] if args is None else args)
        root().main(args, prog_name="retention", standalone_mode=False, obj=Terminal())
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "")
    except click.UsageError as error:
        if error.ctx is None:
            return _say(error.format_message(), BAD_INPUT)
        return _say(sentence(error, error.ctx.command, error.ctx), BAD_INPUT)
    except ValidationError as error:
        return _say(error.errors()[0]["msg"].removeprefix("Value error, "), BAD_INPUT)
    except Refused as error:
        return _say(str(error).replace("`/retention ", "`retention "), BAD_INPUT)
    except (KeyboardInterrupt, click.Abort, Cancelled):
        return _say("Stopped; nothing was published.", FAILED)
    except (exc.OperationalError, exc.ProgrammingError) as error:
        return _say(_of_the_machine(error) or _of_the_database(error), FAILED)
    except Exception as error:
        return _say(_of_the_machine(error) or _unknown(error), FAILED)
    return DONE


@dataclass(frozen=True)
class Terminal:
    """What the tree's root context holds in the terminal: it runs the commands."""

    @cached_property
    def settings(self) -> Settings:
        """From the environment, read when a command needs them: ``--help`` does not."""
        return load_settings()

    def run(self, command: Command, params: dict[str, Any]) -> None:
        """Run a parsed command and print what it came to."""
        as_json, user = params.pop("as_json", False), params.pop("as_user", roles.OPERATOR)
        to_queue = params.pop("to_queue", False)
        if command.starts:
            logging.getLogger().setLevel(logging.INFO)
        elif not command.bare:
            self._make_database()
        services = Services.for_terminal(self.settings)
        with shown_progress() as progress:
            key = f"terminal:{secrets.token_hex(12)}"
            call = Call(services, user, TERMINAL, key, None, progress)
            template, data = self._carry_out(command, call, params, to_queue)
            if command.after and not to_queue:
                command.after(call, data, **params)
        if as_json:
            click.echo(json.dumps(_finite(data), ensure_ascii=False, default=str, allow_nan=False))
        elif not command.starts:
            click.echo(printed(template, data, self.settings))

    def _make_database(self) -> None:
        """A home without a database gets one; an old one is for ``retention db upgrade``."""
        path = self.settings.database_url.get_secret_value().removeprefix("sqlite:///")
        if path.startswith("/") and not Path(path).exists():
            from retention.db.migrate import upgrade

            private(self.settings.home)
            upgrade(self.settings)

    def _carry_out(
        self, command: Command, call: Call, params: dict[str, Any], to_queue: bool
    ) -> tuple[str, dict[str, Any]]:
        services = call.services
        if not (command.starts or command.bare):
            self._check_role(command, call)
        given = command.handle(call, params)
        if isinstance(given, Answer):
            return given.template, given.data
        if to_queue:
            return "bot/queued", self._queue(given, call)
        from workers.tasks import runner

        data = runner.run_here(
            services.settings, services.database, given, user=call.user, progress=call.progress
        )
        return given.kind, data

    def _check_role(self, command: Command, call: Call) -> None:
        with call.services.database.reading() as session:
            roles.require(session, call.services.settings, call.user, command.role, command.deed)

    def _queue(self, request: Request, call: Call) -> dict[str, Any]:
        from workers import jobs

        request.fits_a_worker()
        services = call.services
        with services.database.transaction() as session:
            job = jobs.submit(
                session,
                services.settings,
                request,
                requested_by=call.user,
                channel=None,
                idem_key=call.key,
                limited=False,
            ).job
        woken = jobs.wake(services.settings, job)
        return {"job": job.id, "kind": job.kind, "state": job.state, "queue_away": not woken}


def printed(template: str, data: dict[str, Any], settings: Settings) -> str:
    """A result as people read it in a terminal."""
    try:
        return text(
            f"terminal/{template}.txt.j2", zone=settings.timezone, result=data, **data
        ).rstrip("\n")
    except TemplateNotFound:
        return text("terminal/any.txt.j2", result=data).rstrip("\n")


def _finite(data: Any) -> Any:
    """JSON has no NaN: what is not known is null."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


class shown_progress:
    """A progress bar of counted work on standard error, where a person is watching; silent elsewhere."""

    def __init__(self) -> None:
        self._drawn = 0
        self._next = 0.0

    def __enter__(self) -> Progress:
        return self._draw if sys.stderr.isatty() else silent

    def __exit__(self, *_: object) -> None:
        if self._drawn:
            sys.stderr.write("\r" + " " * self._drawn + "\r")
            sys.stderr.flush()

    def _draw(self, done: int, total: int, what: str) -> None:
        if time.monotonic() < self._next and done < total:
            return
        self._next = time.monotonic() + 0.1
        share = f"{100 * done / total:3.0f} %" if total else "     "
        line = f"{bar(done, total, 24)} {share}  {what}"[:100]
        sys.stderr.write("\r" + line.ljust(self._drawn))
        sys.stderr.flush()
        self._drawn = len(line)


def _say(said: str, status: int) -> int:
    click.echo(straight(said), err=True)
    return status


def _of_the_database(error: exc.DBAPIError) -> str:
    said = str(error.orig).strip().splitlines()[0]
    if any(
        each in said
        for each in ("no such table", "no such column", "has no column", "does not exist")
    ):
        return f"The database has not this version's schema ({said}); run: retention db upgrade"
    return f"The database does not do what it should: {said}"


def _of_the_machine(error: Exception) -> str:
    """Return what is wrong with the disk, the database or the lake; empty for any other error."""
    try:
        fault = diagnose(error, load_settings())
    except BadInput:
        return ""
    return str(fault) if fault else ""


def _unknown(error: Exception) -> str:
    """One sentence for the person; the trace goes to a file for whoever mends it."""
    reference = secrets.token_hex(4)
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    try:
        path = load_settings().home / "errors.log"
        private(path.parent)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"reference {reference}\n{logs.trace(error)}\n")
    except (OSError, BadInput):
        return f"Failed: {type(error).__name__}: {first}"
    return f"Failed: {type(error).__name__}: {first} (the trace is in {path} under {reference})"


if __name__ == "__main__":
    main()
