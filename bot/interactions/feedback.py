"""Handle feedback on scores and on recommended items."""

from dataclasses import replace
from datetime import datetime
from typing import Any, cast, get_args

from slack_bolt import Ack, App

from bot.interactions import Click, send_ephemeral, show_modal
from bot.services import Services
from retention import feedback, impressions
from retention.errors import BadInput
from retention.feedback import Subject
from retention.lake import customer_directory
from retention.text import gettext
from workers import ids, roles
from workers.delivery import render

ROLE = "analyst"
ACTION = gettext("say whether a score is right")


def register(app: App, services: Services) -> None:
    """Listen to buttons, menu and modal.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    def pressed(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        if click.value.startswith("useful|"):
            record_useful(services, click)
        else:
            open_reason_modal(services, click)

    for action in (ids.FEEDBACK, ids.FEEDBACK_USEFUL, ids.FEEDBACK_WRONG):
        app.action(action)(pressed)

    @app.action(ids.FEEDBACK_ITEM)
    def item(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _record_item(services, Click.of(body))

    @app.view(ids.FEEDBACK_VIEW)
    def submitted(ack: Ack, body: dict[str, Any]) -> None:
        click = Click.of(body)
        value, _, channel = click.value.rpartition("|")
        click = replace(click, value=value, channel=channel or None)
        reason = (click.state.get("reason", {}).get("value", {}).get("value") or "").strip()
        if _record(services, click, "wrong", reason):
            ack()
            _thank(services, click, "wrong")
        else:
            ack()


def record_useful(services: Services, click: Click) -> None:
    """Store and confirm that a score is useful."""
    if _record(services, click, "useful"):
        _thank(services, click, "useful")


def _thank(services: Services, click: Click, verdict: feedback.Verdict) -> None:
    _, pseudonym, version, _ = _fields(click.value)
    send_ephemeral(
        services, click, "feedback/thanks", pseudonym=pseudonym, version=version, verdict=verdict
    )


def open_reason_modal(services: Services, click: Click) -> None:
    """Open the modal at once.

    Its trigger id lives three seconds.
    """
    _, pseudonym, version, _ = _fields(click.value)
    with services.database.reading() as session:
        roles.require(session, services.settings, click.user, ROLE, ACTION)
    view = render.view(
        "feedback/wrong",
        value=f"{click.value}|{click.channel or ''}",
        pseudonym=pseudonym,
        version=version,
    )
    show_modal(services, click, view)


def _record(services: Services, click: Click, verdict: feedback.Verdict, reason: str = "") -> bool:
    """Store feedback on a score.

    Return False for a repeated click.
    """
    _, pseudonym, version, as_of = _fields(click.value)
    with services.database.transaction() as session:
        roles.require(session, services.settings, click.user, ROLE, ACTION)
        if not click.first_time(session):
            return False
        customer = customer_directory.find(session, services.settings, pseudonym)
        subject = Subject(customer, version, datetime.fromisoformat(as_of))
        feedback.record(session, services.settings, subject, verdict, click.user, reason)
    return True


def _record_item(services: Services, click: Click) -> None:
    """Store feedback on one recommended item.

    The server knows the impression.
    """
    verdict, list_id, name, position = _fields(click.value)
    if verdict not in get_args(feedback.Verdict) or not position.isdigit():
        raise BadInput(
            gettext(
                "This button is of another version of the desk; `/retention recommend` has a "
                "new one."
            )
        )
    settings = services.settings
    with services.database.transaction() as session:
        roles.require(session, settings, click.user, ROLE, gettext("say what is for whom"))
        if not click.first_time(session):
            return
        customer = customer_directory.find(session, settings, name)
        impression = impressions.item_at(session, settings, list_id, customer, int(position))
        subject = Subject(
            customer,
            impression.model_version,
            impression.shown_at,
            impression.item_id,
            impression.position,
        )
        feedback.record(session, settings, subject, cast(feedback.Verdict, verdict), click.user)
        title = impression.title or impression.item_id
    send_ephemeral(services, click, "feedback/item", pseudonym=name, title=title, verdict=verdict)


def _fields(value: str) -> list[str]:
    """Return verdict, pseudonym, model version and time."""
    fields = value.split("|")
    if len(fields) != 4:
        raise BadInput(
            gettext(
                "This button is of an older version of the desk; `/retention score` has a new one."
            )
        )
    return fields
