"""Buttons and modals, by feature. One file for each feature, with one function::

    def register(app: App, services: Services) -> None:
        @app.action(ids.CANCEL_JOB)
        def cancel(ack, body):
            ack()
            click = Click.of(body)
            with services.database.transaction() as session:
                if not click.first_time(session):
                    return
                jobs.cancel(session, services.settings, click.value, click.user)

`register_all` finds the files by itself. Rules for a handler:

- ``ack()`` first (a modal is opened at once: its trigger id lives 3 s), then work. A failure before ``ack()`` reaches the
  person as well.
- Raise what `retention.errors` has (``Refused`` and its kin): the person gets the sentence, ephemeral, where they
  clicked. Anything else becomes a reference number for them and a trace for the operator. Never catch to log.
- One transaction; `Click.first_time` in it, so that a click delivered twice acts once.
- What the channel should show afterwards is an outbox row (``workers.delivery.outbox.put`` with the message's key), in
  that same transaction. `whisper` is for the person alone, and best effort: never a result.
- A button that submits a job calls `confirm` after the commit: the person may have joined an open job.
"""

import logging
import pkgutil
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from slack_bolt import App
from slack_sdk.errors import SlackClientError
from slack_sdk.webhook import WebhookClient
from sqlalchemy.orm import Session

from bot.services import Services, first_time
from retention.settings import Settings
from workers.delivery import render
from workers.jobs import Submission, title

log = logging.getLogger("retention.bot")

SLACK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")


@dataclass(frozen=True, slots=True)
class Click:
    """A button pressed, or a modal submitted (then ``value`` is its private metadata and ``state`` its inputs)."""

    user: str
    value: str
    action_id: str
    key: str
    channel: str | None
    message_ts: str | None
    trigger_id: str | None
    response_url: str | None
    state: dict[str, Any]

    @classmethod
    def of(cls, body: dict[str, Any]) -> "Click":
        """Read Slack's payload of a block action or a view submission."""
        user = body["user"]["id"]
        view = body.get("view") or {}
        container = body.get("container") or {}
        channel = (body.get("channel") or {}).get("id") or container.get("channel_id")
        state = ((view or body).get("state") or {}).get("values") or {}
        if body["type"] == "view_submission":
            return cls(
                user,
                view.get("private_metadata", ""),
                view.get("callback_id", ""),
                f"view:{view.get('id')}:{view.get('hash')}",
                channel,
                None,
                body.get("trigger_id"),
                None,
                state,
            )
        action = body["actions"][0]
        chosen = action.get("selected_option") or {}
        return cls(
            user,
            action.get("value") or chosen.get("value") or "",
            action["action_id"],
            f"click:{user}:{action.get('action_ts')}:{action['action_id']}",
            channel,
            container.get("message_ts"),
            body.get("trigger_id"),
            body.get("response_url"),
            state,
        )

    def first_time(self, session: Session) -> bool:
        """Whether this click has not been acted on yet; remembered with the caller's transaction."""
        return first_time(session, self.key)


def is_slack_url(url: str, settings: Settings) -> bool:
    """Whether a ``response_url`` belongs to Slack, or to the host that ``SLACK_API_URL`` configures.

    A request names this address itself, so any other would let its sender make the bot call servers of their choice.
    """
    try:
        given, api = urlsplit(url), urlsplit(settings.slack_api_url)
        if (given.scheme, given.hostname) in {("https", host) for host in SLACK_HOSTS}:
            return given.port in (None, 443) and not given.username
        stand_in = api.hostname not in ("slack.com", "slack-gov.com")
        return stand_in and (given.scheme, given.netloc) == (api.scheme, api.netloc)
    except ValueError:
        return False


def whisper(services: Services, click: Click, template: str, **values: Any) -> None:
    """Show a message to the person who clicked and to nobody else; best effort."""
    said = render.message(template, zone=services.settings.timezone, **values)
    try:
        if click.response_url and is_slack_url(click.response_url, services.settings):
            WebhookClient(click.response_url, timeout=5).send(
                text=said.text,
                blocks=said.blocks,
                response_type="ephemeral",
                replace_original=False,
            )
        else:
            services.client.chat_postEphemeral(
                channel=click.channel or click.user,
                user=click.user,
                text=said.text,
                blocks=said.blocks,
            )
    except (
        SlackClientError,
        OSError,
    ) as error:  # what was done stands, whether it can be said or not
        log.warning("%s could not be shown to %s: %s", template, click.user, error)


def confirm(services: Services, click: Click, submission: Submission, *, private: bool) -> None:
    """Wake the workers for a committed job and tell the person what happens; an open job needs no second wake-up.

    Parameters
    ----------
    services : Services
        The installation's.
    click : Click
        Who asked, and where.
    submission : Submission
        What `jobs.submit` returned.
    private : bool
        Whether the result goes to their direct message.
    """
    job = submission.job
    shown = {"id": job.id, "title": title(job.kind)}
    if submission.joined:
        own = job.requested_by == click.user
        whisper(services, click, "bot/under_way", job=shown, own=own, private=private)
        return
    woken = services.queue.wake(job)
    whisper(services, click, "bot/queued", job=shown, stranger=False, private=private, woken=woken)


def register_all(app: App, services: Services) -> None:
    """Register every feature of this folder."""
    for found in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{found.name}").register(app, services)
