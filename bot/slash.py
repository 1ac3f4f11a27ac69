"""`/retention …` in Slack: parse, authorise, store, acknowledge; all within Slack's three seconds."""

import hashlib
import json
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from slack_bolt import Ack, App
from sqlalchemy.orm import Session

from bot.commands import SLACK, Answer, Call
from bot.commands.parsing import parse
from bot.middleware import run_commands_inline
from bot.services import Services
from retention.db.tables import Job
from retention.errors import Conflict
from retention.text import gettext
from workers import jobs, roles
from workers.delivery import outbox, render
from workers.jobs import Submission
from workers.requests import Request

BUDGET_SECONDS = 2.3  # what is not stored by then is not accepted


@dataclass(frozen=True, slots=True)
class UnderWay(render.Message):
    """The answer to a request that is open already: ``job`` has ``id`` and ``title``, ``own`` says whose it is."""

    job: dict[str, str]
    own: bool


def register(app: App, services: Services) -> None:
    """Listen to the slash command."""

    app.use(run_commands_inline)

    @app.command("/retention")
    def retention(ack: Ack, body: dict[str, Any]) -> None:
        started = time.monotonic()
        said = answer(services, body.get("text") or "", caller(services, body), started)
        ack(text=said.text, blocks=said.blocks, response_type="ephemeral")


def caller(services: Services, body: dict[str, Any]) -> Call:
    """Who typed a command, and where."""
    trigger = (
        body.get("trigger_id")
        or hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    )
    return Call(services, body["user_id"], SLACK, f"command:{trigger}", body.get("channel_id"))


def answer(services: Services, text: str, call: Call, started: float) -> render.Message:
    """Do what was typed, and say so in a message for the person alone."""
    parsed = parse(text)
    command = parsed.command
    if command.request is None or command.private:  # else the job's own transaction checks it
        with services.database.reading() as session:
            roles.require(session, services.settings, call.user, command.role, command.deed)
    given = command.handle(call, parsed.params)
    if isinstance(given, Request):
        return queue(services, given, call, started, private=command.private)
    return said(services, given)


def said(services: Services, given: Answer) -> render.Message:
    """An answer as Slack shows it."""
    return render.message(given.template, zone=services.settings.timezone, **given.data)


def queue(
    services: Services, request: Request, call: Call, started: float, *, private: bool
) -> render.Message:
    """Store a request as a job, wake the workers, and say what happens next.

    Parameters
    ----------
    services : Services
        The installation's.
    request : Request
        What the person asked for.
    call : Call
        Who asked, and where.
    started : float
        When the request arrived, by `time.monotonic`.
    private : bool
        Send the result to the person's direct message.

    Returns
    -------
    Message
        An `UnderWay` where an identical request is open.

    Raises
    ------
    NotAllowed
        Where the role does not allow it.
    TooManyRequests
        Where the person has reached a limit.
    BadInput
        Where a worker has not the time for it.
    Conflict
        Where the database took so long that Slack has given up: nothing is stored then.
    """
    request.fits_a_worker()
    asked_in = call.channel or call.user
    here = private or services.channels.can_post(asked_in)
    channel = call.user if private or not here else asked_in

    def store(session: Session) -> Submission:
        if time.monotonic() - started > BUDGET_SECONDS:
            raise Conflict(
                gettext(
                    "The database is too busy just now, so nothing was accepted; please try again."
                )
            )
        return jobs.submit(
            session,
            services.settings,
            request,
            requested_by=call.user,
            channel=channel,
            idem_key=call.key,
            announce=False,
        )

    submission = services.group_commit.store(store)
    job = submission.job
    if submission.joined:
        return under_way(job, call.user, private=channel == call.user)
    services.group_commit.defer(lambda session: announce(session, services, job.id))
    woken = services.queue.wake(job)
    return queued(
        job,
        stranger=not here,
        private=channel == call.user,
        woken=woken,
        zone=services.settings.timezone,
    )


def queued(job: Job, *, stranger: bool, private: bool, woken: bool, zone: str) -> render.Message:
    """What the person who asked sees: where the result goes, and Cancel."""
    text, blocks = _queued(jobs.title(job.kind), stranger, private, woken, zone)
    return render.Message(text, json.loads(blocks.replace(_A_JOB, job.id)))


def under_way(job: Job, user: str, *, private: bool) -> UnderWay:
    """Tell a person that an identical request is open; somebody else's job is not named.

    Parameters
    ----------
    job : Job
        The open job.
    user : str
        Who asked again.
    private : bool
        Whether the result goes to their direct message.
    """
    shown, own = {"id": job.id, "title": jobs.title(job.kind)}, job.requested_by == user
    message = render.message("bot/under_way", job=shown, own=own, private=private)
    return UnderWay(message.text, message.blocks, shown, own)


_A_JOB = "JOB-ID"


@lru_cache(maxsize=256)
def _queued(title: str, stranger: bool, private: bool, woken: bool, zone: str) -> tuple[str, str]:
    """The message for any job, rendered once: only the id on its button differs."""
    made = render.message(
        "bot/queued",
        job={"id": _A_JOB, "title": title},
        stranger=stranger,
        private=private,
        woken=woken,
        zone=zone,
    )
    return made.text, json.dumps(made.blocks)


def announce(session: Session, services: Services, job_id: str) -> None:
    """Show the job's message, with its bar and Cancel, unless the job is over or shown already.

    The person has been answered by then: their three seconds do not pay for it.
    """
    job = session.get(
        Job, job_id, with_for_update=True
    )  # so that the end of the job cannot come in between
    shown = outbox.channel_of(session, f"job:{job_id}") is not None
    if job and job.state in jobs.OPEN and not shown:
        jobs.show_progress(session, services.settings, job)
