"""Answer `/retention …` in Slack within Slack's three seconds."""

import hashlib
import json
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from slack_bolt import Ack, App
from sqlalchemy.orm import Session

from bot import builder
from bot.commands import SLACK, Call
from bot.commands.parsing import parse
from bot.middleware import run_commands_inline
from bot.services import Services
from retention.db.tables import Job
from retention.errors import Conflict
from retention.text import gettext, language
from workers import jobs, roles
from workers.delivery import outbox, render
from workers.job_messages import show_progress
from workers.jobs import Submission
from workers.requests import Request, title_of

BUDGET_SECONDS = 2.3  # a request that is not stored by then is refused


@dataclass(frozen=True, slots=True)
class OpenJobMessage(render.Message):
    """The answer to a repeated request.

    ``job`` has ``id`` and ``title``. ``own`` is True if the person requested the open job.
    """

    job: dict[str, str]
    own: bool


def register(app: App, services: Services) -> None:
    """Listen to the slash command.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    app.use(run_commands_inline)

    @app.command("/retention")
    def retention(ack: Ack, body: dict[str, Any]) -> None:
        started = time.monotonic()
        if not (body.get("text") or "").strip() and body.get("trigger_id"):
            ack()
            place = builder.Place(body.get("channel_id") or "", body.get("response_url") or "")
            view = builder.view(services, body["user_id"], place)
            services.client.views_open(trigger_id=body["trigger_id"], view=view)
            return
        reply = answer(services, body.get("text") or "", caller(services, body), started)
        ack(text=reply.text, blocks=reply.blocks, response_type="ephemeral")


def caller(services: Services, body: dict[str, Any]) -> Call:
    """Return person and place of a command.

    Parameters
    ----------
    services : Services
        The installation's services.
    body : dict
        Slack's payload.

    Returns
    -------
    Call
    """
    trigger = (
        body.get("trigger_id")
        or hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    )
    return Call(services, body["user_id"], SLACK, f"command:{trigger}", body.get("channel_id"))


def answer(services: Services, text: str, call: Call, started: float) -> render.Message:
    """Run a slash command; return the message.

    Parameters
    ----------
    services : Services
        The installation's services.
    text : str
        The text after ``/retention``.
    call : Call
        The person and the place.
    started : float
        Arrival of the request, by `time.monotonic`.

    Returns
    -------
    Message
    """
    parsed = parse(text, lambda: _role(services, call.user))
    command = parsed.command
    if command.request is None or command.private:  # else the job's own transaction checks it
        with services.database.reading() as session:
            roles.require(session, services.settings, call.user, command.role, command.deed)
    result = command.handle(call, parsed.params)
    if isinstance(result, Request):
        return queue(services, result, call, started, private=command.private)
    return render.message(result.template, zone=services.settings.timezone, **result.data)


def _role(services: Services, user: str) -> str:
    with services.database.reading() as session:
        return roles.role_of(session, services.settings, user)


def queue(
    services: Services, request: Request, call: Call, started: float, *, private: bool
) -> render.Message:
    """Store a request as a job.

    Then wake the workers and return the confirmation.

    Parameters
    ----------
    services : Services
        The installation's services.
    request : Request
        The work for the workers.
    call : Call
        The person and the place.
    started : float
        Arrival of the request, by `time.monotonic`.
    private : bool
        Send the result to the person's direct message.

    Returns
    -------
    Message
        An `OpenJobMessage` if an identical request is open.

    Raises
    ------
    NotAllowed
        The role does not allow it.
    TooManyRequests
        The person has reached a limit.
    BadInput
        The job needs longer than a worker may take.
    Conflict
        The database took too long for Slack's time-out. Nothing is stored.
    """
    request.check_worker_limits()
    private = private or request.is_private
    origin = call.channel or call.user
    can_post = private or services.channels.can_post(origin)
    channel = call.user if private or not can_post else origin

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
        return open_job_message(job, call.user, private=channel == call.user)
    services.group_commit.defer(lambda session: announce(session, services, job.id))
    woken = services.queue.wake(job)
    return queued_message(
        job,
        stranger=not can_post,
        private=channel == call.user,
        woken=woken,
        zone=services.settings.timezone,
    )


def queued_message(
    job: Job, *, stranger: bool, private: bool, woken: bool, zone: str
) -> render.Message:
    """Render the confirmation of a new job.

    It has no buttons: the channel's progress message has them, as long as they work.

    Parameters
    ----------
    job : Job
        The new job.
    stranger : bool
        The bot is not in the channel of the command.
    private : bool
        The result goes to the person's direct message.
    woken : bool
        The broker took the wake-up.
    zone : str
        Time zone of the shop.

    Returns
    -------
    Message
    """
    return _queued(title_of(job.kind), stranger, private, woken, zone, language())


def open_job_message(job: Job, user: str, *, private: bool) -> OpenJobMessage:
    """Render the answer to a repeated request.

    Another person's job is not named.

    Parameters
    ----------
    job : Job
        The open job.
    user : str
        The repeating person.
    private : bool
        Whether the result goes to their direct message.

    Returns
    -------
    OpenJobMessage
    """
    job_data, own = {"id": job.id, "title": title_of(job.kind)}, job.requested_by == user
    message = render.message("bot/under_way", job=job_data, own=own, private=private)
    return OpenJobMessage(message.text, message.blocks, job_data, own)


@lru_cache(maxsize=256)
def _queued(
    title: str, stranger: bool, private: bool, woken: bool, zone: str, _language: str
) -> render.Message:
    """Render the message once for all jobs of a kind and language."""
    return render.message(
        "bot/queued",
        job={"title": title},
        stranger=stranger,
        private=private,
        woken=woken,
        zone=zone,
    )


def announce(session: Session, services: Services, job_id: str) -> None:
    """Show the job's progress message.

    A job that has ended or has a message gets none. This runs after the answer, so it does not
    use up Slack's three seconds.

    Parameters
    ----------
    session : Session
        A transaction.
    services : Services
        The installation's services.
    job_id : str
        The job.
    """
    job = session.get(Job, job_id, with_for_update=True)  # the job cannot end meanwhile
    is_shown = outbox.channel_of(session, f"job:{job_id}") is not None
    if job and job.state in jobs.OPEN and not is_shown:
        show_progress(session, services.settings, job)
