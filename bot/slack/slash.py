"""Answer `/retention …` in Slack within Slack's three seconds.

A typed command stores and answers in milliseconds. So a middleware runs it in the thread that
received it: Bolt would run a listener in another thread and poll for its answer.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from slack_bolt import Ack, App, BoltResponse

from bot.commands.parsing import parse
from bot.commands.tree import SLACK, Call
from bot.services import Services
from bot.slack import builder
from retention.db import Transaction
from retention.db.tables import Job
from retention.text import language
from workers.delivery import outbox, render
from workers.delivery.job_messages import show_progress
from workers.job_requests import Request, title_of
from workers.queue import jobs

COMMAND = "/retention"
BUDGET_SECONDS = 2.3  # a request that is not stored by then is refused


@dataclass(frozen=True, slots=True)
class OpenJobMessage(render.Message):
    """The answer to a repeated request.

    ``job`` has ``id`` and ``title``. ``own`` is True if the person requested the open job.
    """

    job: dict[str, str]
    own: bool


def register(app: App, services: Services) -> None:
    """Answer the slash command; without a text, open the window of commands."""

    @app.middleware
    def typed(body: dict[str, Any], next: Callable[[], BoltResponse]) -> BoltResponse:
        text = body.get("text") or ""
        opens_window = not text.strip() and body.get("trigger_id")
        if body.get("command") != COMMAND or opens_window:
            return next()
        content = json.dumps(body, sort_keys=True).encode()
        trigger = body.get("trigger_id") or hashlib.sha256(content).hexdigest()
        call = Call(services, body["user_id"], SLACK, f"command:{trigger}", body.get("channel_id"))
        reply = answer(call, text)
        shown = {"text": reply.text, "blocks": reply.blocks, "response_type": "ephemeral"}
        return BoltResponse(status=200, body=shown)

    @app.command(COMMAND)
    def open_window(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        place = builder.Place(body.get("channel_id") or "", body.get("response_url") or "")
        view = builder.view(services, body["user_id"], place)
        services.client.views_open(trigger_id=body["trigger_id"], view=view)


def answer(call: Call, text: str) -> render.Message:
    """Run a slash command; return the message.

    A request is stored as a job, and wakes the workers.

    Returns: an `OpenJobMessage` if an identical request is open.
    Raises `Conflict`: the database took too long for Slack's time-out. Nothing is stored.
    """
    until, services = time.monotonic() + BUDGET_SECONDS, call.services
    parsed = parse(text, call)
    result = parsed.command.handle(call, parsed.params)
    if not isinstance(result, Request):
        return render.message(result.template, zone=services.settings.timezone, **result.data)
    result.check_worker_limits(services.settings)
    origin = call.channel or call.user
    is_private = parsed.command.private or result.is_private
    can_post = is_private or services.channels.can_post(origin)
    channel = origin if can_post and not is_private else call.user
    write = partial(
        jobs.submit,
        request=result,
        requested_by=call.user,
        channel=channel,
        idem_key=call.key,
        announce=False,
    )
    submission = services.group_commit.store(write, until)
    job, to_person = submission.job, channel == call.user
    if submission.joined:
        return _open_job_message(job, call.user, private=to_person)
    services.group_commit.defer(lambda session: _announce(session, job.id))
    woken = services.queue.wake(job)
    zone = services.settings.timezone
    return _queued(title_of(job.kind), not can_post, to_person, woken, zone, language())


def _open_job_message(job: Job, user: str, *, private: bool) -> OpenJobMessage:
    """Render the answer to a repeated request. Another person's job is not named."""
    job_data, own = {"id": job.id, "title": title_of(job.kind)}, job.requested_by == user
    message = render.message("bot/under_way", job=job_data, own=own, private=private)
    return OpenJobMessage(message.text, message.blocks, job_data, own)


@lru_cache(maxsize=256)
def _queued(
    title: str, stranger: bool, private: bool, woken: bool, zone: str, _language: str
) -> render.Message:
    """Render the confirmation once for all jobs of a kind and language.

    It has no buttons: the channel's progress message has them, as long as they work.
    """
    return render.message(
        "bot/queued",
        job={"title": title},
        stranger=stranger,
        private=private,
        woken=woken,
        zone=zone,
    )


def _announce(session: Transaction, job_id: str) -> None:
    """Show the job's progress message.

    A job that has ended or has a message gets none. This runs after the answer, so it does not
    use up Slack's three seconds.
    """
    job = session.get(Job, job_id, with_for_update=True)  # the job cannot end meanwhile
    is_shown = outbox.channel_of(session, f"job:{job_id}") is not None
    if job and job.state in jobs.OPEN and not is_shown:
        show_progress(session, job)
