"""Handle Slack's buttons and modals.

Each feature has one file with a function ``register``, which calls `listen`, as in
`bot.slack.interactions.jobs`. `register_all` finds the files. Rules for a handler:

- A click is answered first, then handled: `bot.slack.clicks` has stored it. A modal's submission is
  not stored, so it is answered after its commit. A failure before the answer reaches the person as
  well.
- Check the role once and first: `roles.require`, this module's `once` for a change, or its
  `submit` for a job. `workers.queue.jobs.submit` checks none.
- Open a modal at once, because its trigger id lives 3 s.
- Raise the errors of `retention.errors`. The person sees the message as an ephemeral message.
  Any other error becomes a reference number for them and a traceback for the operator.
  Never catch an error only to log it.
- Use one transaction, of `once`. Then a repeated delivery acts once.
- Write an outbox row (``workers.delivery.outbox.put``, with the message's key) in that
  transaction to update the channel. `send_ephemeral` is best effort: never use it for a result.
- Call `confirm` after the commit if the button submits a job. The person may have joined an
  open job.
"""

import logging
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from slack_bolt import Ack, App
from slack_sdk.errors import SlackClientError
from slack_sdk.webhook import WebhookClient

from bot.services import Services, first_time
from retention import clock
from retention.db import Transaction, audit
from retention.settings import Settings
from workers import user_roles
from workers.delivery import render
from workers.job_requests import Request, title_of
from workers.queue import jobs as job_queue  # `jobs` is a file of this folder
from workers.queue.jobs import Submission

log = logging.getLogger("retention.bot")

SLACK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")


@dataclass(frozen=True, slots=True)
class Click:
    """A pressed button or a submitted modal.

    For a modal, ``value`` is its private metadata and ``state`` its inputs.
    """

    user: str
    value: str
    key: str
    channel: str | None
    trigger_id: str
    response_url: str | None
    state: dict[str, Any]
    # The window that was submitted or has the pressed button.
    view: dict[str, Any] = field(compare=False)

    @classmethod
    def of(cls, body: dict[str, Any]) -> "Click":
        """Read a block action, a view submission or a shortcut."""
        user, view = body["user"]["id"], body.get("view") or {}
        container = body.get("container") or {}
        if body["type"] == "view_submission":
            value, key = (
                view.get("private_metadata", ""),
                f"view:{view.get('id')}:{view.get('hash')}",
            )
        else:
            action = body.get("actions", [body])[0]
            value = action.get("value") or (action.get("selected_option") or {}).get("value") or ""
            key = f"click:{user}:{action.get('action_ts')}:{action.get('action_id')}"
        return cls(
            user,
            value,
            key,
            channel=(body.get("channel") or {}).get("id") or container.get("channel_id"),
            trigger_id=body.get("trigger_id") or "",
            response_url=body.get("response_url"),
            state=((view or body).get("state") or {}).get("values") or {},
            view=view,
        )

    @property
    def is_in_modal(self) -> bool:
        """Whether the button is in a modal, not on App Home or in a message."""
        return self.view.get("type") == "modal"

    @property
    def place(self) -> str:
        """The channel, or the person's direct message."""
        return self.channel or self.user

    def first_time(self, session: Transaction) -> bool:
        """Record the click in the caller's transaction. Return False for a repeat."""
        return first_time(session, self.key)

    def input(self, block: str, action: str = "value") -> dict[str, Any]:
        """Return the state of an input; empty for a window without it."""
        return dict(self.state.get(block, {}).get(action) or {})

    def option(self, block: str, action: str = "value") -> str | None:
        """Return the option that was chosen in an input."""
        return (self.input(block, action).get("selected_option") or {}).get("value")

    def answer(self, block: str, action: str = "value") -> str:
        """Return the option that was chosen in an input, or what was typed into it."""
        typed = self.input(block, action).get("value") or ""
        return self.option(block, action) or typed.strip()

    def submit(
        self, session: Transaction, request: Request, channel: str | None, **options: Any
    ) -> Submission:
        """Store a job of this click; `workers.queue.jobs.submit` explains the options."""
        return job_queue.submit(
            session,
            request,
            requested_by=self.user,
            channel=channel,
            **{"idem_key": self.key, **options},
        )


class _Repeated(Exception):
    """The click was handled before."""


@contextmanager
def once(services: Services, click: Click, role: str = "", deed: str = "") -> Iterator[Transaction]:
    """Open the transaction of a click's change; a repeated click ends its handler here.

    `role`: what the person needs for the ``deed``, unless the change itself checks it.
    """
    with services.database.transaction() as session:
        if role:
            user_roles.require(session, click.user, role, deed)
        if not click.first_time(session):
            raise _Repeated
        yield session


Handler = Callable[[Services, Click], None]
Submit = Callable[[Services, Click, Ack], None]


def listen(
    app: App,
    services: Services,
    clicks: Mapping[Any, Handler],  # by action id, or by a pattern of ids
    submissions: Mapping[str, Submit] | None = None,
) -> None:
    """Handle clicks, which are answered at once, and modals, which their handlers answer."""

    def on_click(handle: Handler) -> Callable[..., None]:
        def listener(ack: Ack, body: dict[str, Any]) -> None:
            ack()
            with suppress(_Repeated):
                handle(services, Click.of(body))

        return listener

    def on_submission(handle: Submit) -> Callable[..., None]:
        def listener(ack: Ack, body: dict[str, Any]) -> None:
            try:
                handle(services, Click.of(body), ack)
            except _Repeated:
                ack()

        return listener

    for action_id, handle in clicks.items():
        app.action(action_id)(on_click(handle))
    for view_id, submit_view in (submissions or {}).items():
        app.view(view_id)(on_submission(submit_view))


def is_slack_url(url: str, settings: Settings) -> bool:
    """Check that a ``response_url`` belongs to Slack.

    The host in ``SLACK_API_URL`` is allowed, too. The request itself contains this address. Any
    other host would let a sender make the bot call servers of their choice.
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
    """Show a message only to the acting person, best effort."""
    message = render.message(template, zone=services.settings.timezone, **values)
    show_to(services, click.user, message, click.response_url, click.place)


def show_to(
    services: Services,
    user: str,
    message: render.Message,
    response_url: str | None,
    channel: str | None = None,
) -> None:
    """Show a message only to one person, best effort: the action itself is done.

    `response_url`: Slack's address for answers. Without one, the person reads the message in the
    ``channel``, or else as a direct message.
    """
    shown: dict[str, Any] = {"text": message.text, "blocks": message.blocks}
    try:
        if response_url and is_slack_url(response_url, services.settings):
            WebhookClient(response_url, timeout=5).send(
                **shown, response_type="ephemeral", replace_original=False
            )
        elif channel:
            services.client.chat_postEphemeral(channel=channel, user=user, **shown)
        else:
            services.client.chat_postMessage(channel=user, **shown)
    except (SlackClientError, OSError) as error:
        log.warning("%r could not be shown to %s: %s", message.text, user, error)


def show_modal(services: Services, click: Click, view: dict[str, Any]) -> str:
    """Open a modal, on top of the one with the pressed button if there is one.

    Call it at once, because the trigger id lives three seconds.
    """
    show = services.client.views_push if click.is_in_modal else services.client.views_open
    answer = show(trigger_id=click.trigger_id, view=view)
    return str((answer.get("view") or {}).get("id") or "")


def refresh_window(services: Services, view: dict[str, Any], new: dict[str, Any]) -> None:
    """Show new content in an open window, best effort.

    Each input asks for a refresh, so two overlap when a person is quick, and Slack refuses the
    older one. A refusal must not cover what was filled in.
    """
    try:
        services.client.views_update(view_id=view["id"], hash=view.get("hash"), view=new)
    except (SlackClientError, OSError) as error:  # closed, or a newer refresh is under way
        log.info("a window was not refreshed: %s", error)


def submit(
    services: Services,
    click: Click,
    request: Request,
    *,
    private: bool = False,
    check: Callable[[Transaction, str], Any] | None = None,
    audited: str = "",
) -> None:
    """Store a click's request as a job, once, and confirm it.

    `private`: the result goes to the person's direct message, not to the click's place.
    `check`: gets the transaction and the click's value, and raises if it is gone.
    `audited`: the action for the audit log.
    """
    channel = click.user if private else click.place
    with once(services, click, request.role, request.deed) as session:
        if check:
            check(session, click.value)
        submission = click.submit(session, request, channel)
        if audited:
            details = {"job": submission.job.id}
            audit.record(session, click.user, audited, click.value, clock.now(), details)
    confirm(services, click, submission, private=channel == click.user)


def fill_window(services: Services, click: Click, request: Request) -> None:
    """Let a worker fill an open window, once. The click's role was checked."""
    with once(services, click) as session:
        job = click.submit(session, request, None).job
    services.queue.wake(job)


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
    """Register every feature of this folder."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}").register(app, services)
