"""Handle Slack's buttons and modals.

Each feature has one file with one function::

    def register(app: App, services: Services) -> None:
        @app.action(ids.CANCEL_JOB)
        def cancel(ack, body):
            ack()
            click = Click.of(body)
            with services.database.transaction() as session:
                if not click.first_time(session):
                    return
                jobs.cancel(session, services.settings, click.value, click.user)

`register_all` finds the files. Rules for a handler:

- Call ``ack()`` first, then work: `bot.clicks` has stored the click. A modal's submission is not
  stored, so call ``ack()`` after its commit. A failure before ``ack()`` reaches the person as well.
- Open a modal at once, because its trigger id lives 3 s.
- Raise the errors of `retention.errors`. The person sees the message as an ephemeral message.
  Any other error becomes a reference number for them and a traceback for the operator.
  Never catch an error only to log it.
- Use one transaction and call `Click.first_time` in it. Then a repeated delivery acts once.
- Write an outbox row (``workers.delivery.outbox.put``, with the message's key) in that
  transaction to update the channel. `send_ephemeral` is best effort: never use it for a result.
- Call `confirm` after the commit if the button submits a job. The person may have joined an
  open job.
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
from workers.jobs import Submission
from workers.requests import title_of

log = logging.getLogger("retention.bot")

SLACK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")


@dataclass(frozen=True, slots=True)
class Click:
    """A pressed button or a submitted modal.

    For a modal, ``value`` is its private metadata and ``state`` its inputs.
    """

    user: str
    value: str
    action_id: str
    key: str
    channel: str | None
    message_ts: str | None
    trigger_id: str | None
    response_url: str | None
    state: dict[str, Any]
    view_id: str | None = None  # of the modal with the pressed button

    @classmethod
    def of(cls, body: dict[str, Any]) -> "Click":
        """Read a block action or a view submission."""
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
            view.get("id") if view.get("type") == "modal" else None,
        )

    def first_time(self, session: Session) -> bool:
        """Record the click in the caller's transaction.

        Return False for a repeat.
        """
        return first_time(session, self.key)


def is_slack_url(url: str, settings: Settings) -> bool:
    """Check that a ``response_url`` belongs to Slack.

    The host in ``SLACK_API_URL`` is allowed, too. The request itself contains this address. Any
    other host would let a sender make the bot call servers of their choice.

    Parameters
    ----------
    url : str
        The ``response_url`` of a request.
    settings : Settings
        The installation.

    Returns
    -------
    bool
    """
    try:
        target, api = urlsplit(url), urlsplit(settings.slack_api_url)
        if (target.scheme, target.hostname) in {("https", host) for host in SLACK_HOSTS}:
            return target.port in (None, 443) and not target.username
        is_configured = api.hostname not in ("slack.com", "slack-gov.com")
        return is_configured and (target.scheme, target.netloc) == (api.scheme, api.netloc)
    except ValueError:
        return False


def send_ephemeral(services: Services, click: Click, template: str, **values: Any) -> None:
    """Show a message only to the acting person.

    Best effort.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        The click to answer.
    template : str
        A template below ``templates/slack``.
    **values
        The template's variables.
    """
    show_ephemeral(
        services, click, render.message(template, zone=services.settings.timezone, **values)
    )


def show_ephemeral(services: Services, click: Click, message: render.Message) -> None:
    """Show a rendered message only to the acting person.

    Best effort.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        The click to answer.
    message : Message
        Text and blocks.
    """
    try:
        if click.response_url and is_slack_url(click.response_url, services.settings):
            WebhookClient(click.response_url, timeout=5).send(
                text=message.text,
                blocks=message.blocks,
                response_type="ephemeral",
                replace_original=False,
            )
        else:
            services.client.chat_postEphemeral(
                channel=click.channel or click.user,
                user=click.user,
                text=message.text,
                blocks=message.blocks,
            )
    except (SlackClientError, OSError) as error:  # the action itself is done
        log.warning("%r could not be shown to %s: %s", message.text, click.user, error)


def show_modal(services: Services, click: Click, view: dict[str, Any]) -> str:
    """Open a modal, on top of the one with the pressed button if there is one.

    Call it at once, because the trigger id lives three seconds.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        The click to answer.
    view : dict
        The modal.

    Returns
    -------
    str
        Id of the view.
    """
    show = services.client.views_push if click.view_id else services.client.views_open
    answer = show(trigger_id=click.trigger_id or "", view=view)
    return str((answer.get("view") or {}).get("id") or "")


def refresh_window(services: Services, view: dict[str, Any], new: dict[str, Any]) -> None:
    """Show new content in an open window, best effort.

    Each input asks for a refresh, so two overlap when a person is quick, and Slack refuses the
    older one. A refusal must not cover what was filled in.

    Parameters
    ----------
    services : Services
        The installation's services.
    view : dict
        The window, as of the click.
    new : dict
        Its new content.
    """
    try:
        services.client.views_update(view_id=view["id"], hash=view.get("hash"), view=new)
    except (SlackClientError, OSError) as error:  # closed, or a newer refresh is under way
        log.info("a window was not refreshed: %s", error)


def confirm(
    services: Services,
    click: Click,
    submission: Submission,
    *,
    private: bool,
    title: str | None = None,
) -> None:
    """Wake the workers and confirm a committed job.

    An open job that the person joined needs no second wake-up.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        The click that submitted the job.
    submission : Submission
        The return value of `jobs.submit`.
    private : bool
        Whether the result goes to the person's direct message.
    title : str, optional
        Name of what was pressed; by default the job's.
    """
    job = submission.job
    job_data = {"id": job.id, "title": title or title_of(job.kind)}
    if submission.joined:
        own = job.requested_by == click.user
        send_ephemeral(services, click, "bot/under_way", job=job_data, own=own, private=private)
        return
    woken = services.queue.wake(job)
    send_ephemeral(
        services, click, "bot/queued", job=job_data, stranger=False, private=private, woken=woken
    )


def register_all(app: App, services: Services) -> None:
    """Register every feature of this folder.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}").register(app, services)
