"""What people say of a score and its reasons (Useful, or Wrong, because …) and of a recommended item (good, or not for them)."""

from dataclasses import replace
from datetime import datetime
from typing import Any, cast, get_args

from slack_bolt import Ack, App

from bot.interactions import Click, whisper
from bot.services import Services
from retention import feedback, impressions
from retention.errors import BadInput
from retention.feedback import Subject
from retention.lake import directory
from retention.text import gettext
from workers import ids, roles
from workers.delivery import render

ROLE, DEED = "analyst", "say whether a score is right"


def register(app: App, services: Services) -> None:
    """Listen to the buttons, the menu beside a customer, and the modal."""

    def pressed(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        if click.value.startswith("useful|"):
            _useful(services, click)
        else:
            _ask_why(services, click)

    for action in (ids.FEEDBACK, ids.FEEDBACK_USEFUL, ids.FEEDBACK_WRONG):
        app.action(action)(pressed)

    @app.action(ids.FEEDBACK_ITEM)
    def of_item(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _of_item(services, Click.of(body))

    @app.view(ids.FEEDBACK_VIEW)
    def told(ack: Ack, body: dict[str, Any]) -> None:
        click = Click.of(body)
        value, _, channel = click.value.rpartition("|")
        click = replace(click, value=value, channel=channel or None)
        reason = (click.state.get("reason", {}).get("value", {}).get("value") or "").strip()
        if _keep(services, click, "wrong", reason):
            ack()
            _thank(services, click, "wrong")
        else:
            ack()


def _useful(services: Services, click: Click) -> None:
    if _keep(services, click, "useful"):
        _thank(services, click, "useful")


def _thank(services: Services, click: Click, verdict: feedback.Verdict) -> None:
    _, pseudonym, version, _ = _fields(click.value)
    whisper(
        services, click, "feedback/thanks", pseudonym=pseudonym, version=version, verdict=verdict
    )


def _ask_why(services: Services, click: Click) -> None:
    """Open the modal at once: its trigger lives three seconds."""
    _, pseudonym, version, _ = _fields(click.value)
    with services.database.reading() as session:
        roles.require(session, services.settings, click.user, ROLE, DEED)
    view = render.view(
        "feedback/wrong",
        value=f"{click.value}|{click.channel or ''}",
        pseudonym=pseudonym,
        version=version,
    )
    services.client.views_open(trigger_id=click.trigger_id or "", view=view)


def _keep(services: Services, click: Click, verdict: feedback.Verdict, reason: str = "") -> bool:
    """Store it; False where this very click was stored before."""
    _, pseudonym, version, as_of = _fields(click.value)
    with services.database.transaction() as session:
        roles.require(session, services.settings, click.user, ROLE, DEED)
        if not click.first_time(session):
            return False
        customer = directory.find(session, services.settings, pseudonym)
        subject = Subject(customer, version, datetime.fromisoformat(as_of))
        feedback.record(session, services.settings, subject, verdict, click.user, reason)
    return True


def _of_item(services: Services, click: Click) -> None:
    """Store what somebody says of one item of a list: whose and which it was, the server knows."""
    verdict, shown_in, name, place = _fields(click.value)
    if verdict not in get_args(feedback.Verdict) or not place.isdigit():
        raise BadInput(
            gettext(
                "This button is of another version of the desk; `/retention recommend` has a "
                "new one."
            )
        )
    settings = services.settings
    with services.database.transaction() as session:
        roles.require(session, settings, click.user, ROLE, "say what is for whom")
        if not click.first_time(session):
            return
        customer = directory.find(session, settings, name)
        shown = impressions.found(session, settings, shown_in, customer, int(place))
        subject = Subject(
            customer, shown.model_version, shown.shown_at, shown.item_id, shown.position
        )
        feedback.record(session, settings, subject, cast(feedback.Verdict, verdict), click.user)
        title = shown.title or shown.item_id
    whisper(services, click, "feedback/item", pseudonym=name, title=title, verdict=verdict)


def _fields(value: str) -> list[str]:
    """Verdict, pseudonym, model version and moment."""
    fields = value.split("|")
    if len(fields) != 4:
        raise BadInput(
            gettext(
                "This button is of an older version of the desk; `/retention score` has a new one."
            )
        )
    return fields
