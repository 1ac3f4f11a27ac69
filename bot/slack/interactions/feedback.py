"""Handle feedback on scores and on recommended items."""

from dataclasses import replace
from datetime import datetime
from typing import cast, get_args

from slack_bolt import Ack, App

from bot.services import Services
from bot.slack.interactions import Click, listen, once, send_ephemeral, show_modal
from retention import feedback, impressions
from retention.errors import BadInput
from retention.feedback import Subject
from retention.lake import customer_directory
from retention.text import gettext
from workers import action_ids
from workers.delivery import render

ROLE = "analyst"
ACTION = gettext("say whether a score is right")


def register(app: App, services: Services) -> None:
    """Listen to buttons, menu and modal."""
    verdicts = dict.fromkeys(
        (action_ids.FEEDBACK, action_ids.FEEDBACK_USEFUL, action_ids.FEEDBACK_WRONG), judge
    )
    listen(
        app,
        services,
        {**verdicts, action_ids.FEEDBACK_ITEM: _record_item},
        {action_ids.FEEDBACK_VIEW: _save},
    )


def judge(services: Services, click: Click) -> None:
    """Store that a score is useful, or ask why it is wrong."""
    if click.value.startswith("useful|"):
        _record(services, click, "useful")
        _thank(services, click, "useful")
    else:
        _open_reason_modal(services, click)


def _save(services: Services, click: Click, ack: Ack) -> None:
    value, _, channel = click.value.rpartition("|")
    click = replace(click, value=value, channel=channel or None)
    _record(services, click, "wrong", click.answer("reason"))
    ack()
    _thank(services, click, "wrong")


def _thank(services: Services, click: Click, verdict: feedback.Verdict) -> None:
    _, pseudonym, version, _ = _fields(click.value)
    send_ephemeral(
        services, click, "feedback/thanks", pseudonym=pseudonym, version=version, verdict=verdict
    )


def _open_reason_modal(services: Services, click: Click) -> None:
    """Open the modal at once. Its trigger id lives three seconds."""
    _, pseudonym, version, _ = _fields(click.value)
    services.require(click.user, ROLE, ACTION)
    view = render.view(
        "feedback/wrong",
        value=f"{click.value}|{click.channel or ''}",
        pseudonym=pseudonym,
        version=version,
    )
    show_modal(services, click, view)


def _record(services: Services, click: Click, verdict: feedback.Verdict, reason: str = "") -> None:
    """Store feedback on a score."""
    _, pseudonym, version, as_of = _fields(click.value)
    with once(services, click, ROLE, ACTION) as session:
        customer = customer_directory.find(session, pseudonym)
        subject = Subject(customer, version, datetime.fromisoformat(as_of))
        feedback.record(session, subject, verdict, click.user, reason)


def _record_item(services: Services, click: Click) -> None:
    """Store feedback on one recommended item. The server knows the impression."""
    verdict, list_id, name, position = _fields(click.value)
    if verdict not in get_args(feedback.Verdict) or not position.isdigit():
        text = gettext(
            "This button is of another version of the desk; `/retention recommend` has a new one."
        )
        raise BadInput(text)
    with once(services, click, ROLE, gettext("say what is for whom")) as session:
        customer = customer_directory.find(session, name)
        impression = impressions.item_at(session, list_id, customer, int(position))
        version, shown_at = impression.model_version, impression.shown_at
        subject = Subject(customer, version, shown_at, impression.item_id, impression.position)
        feedback.record(session, subject, cast(feedback.Verdict, verdict), click.user)
        title = impression.title or impression.item_id
    send_ephemeral(services, click, "feedback/item", pseudonym=name, title=title, verdict=verdict)


def _fields(value: str) -> list[str]:
    """Return verdict, pseudonym, model version and time."""
    fields = value.split("|")
    if len(fields) != 4:
        text = gettext(
            "This button is of an older version of the desk; `/retention score` has a new one."
        )
        raise BadInput(text)
    return fields
