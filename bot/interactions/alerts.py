"""Handle the menus and buttons of alerts."""

from typing import Any

from slack_bolt import Ack, App

from bot.interactions import Click, confirm, send_ephemeral
from bot.services import Services
from retention.alerts import store
from retention.errors import BadInput
from retention.text import gettext
from workers import ids, jobs, roles
from workers.requests import AlertTest

CHANGES = {
    "mute": store.mute,
    "unmute": store.unmute,
    "snooze": store.snooze,
    "delete": store.remove,
}


def register(app: App, services: Services) -> None:
    """Listen to the menus and buttons.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.action(ids.ALERT_MENU)
    def chosen(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        deed, _, name = click.value.partition("|")
        apply_choice(services, click, deed, name)

    @app.action(ids.ALERT_TEST)
    def test(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        apply_choice(services, click, "test", click.value)

    @app.action(ids.ALERT_ON)
    def switch_on(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        apply_choice(services, click, "unmute", click.value)


def apply_choice(services: Services, click: Click, deed: str, name: str) -> None:
    """Try, mute, snooze, switch on or delete an alert, and confirm it.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        The click.
    deed : str
        What to do.
    name : str
        Name of the alert.
    """
    settings = services.settings
    if deed not in (*CHANGES, "test"):
        raise BadInput(
            gettext("This menu is of another version; `/retention alert list` has a new one.")
        )
    channel = click.channel or click.user
    with services.database.transaction() as session:
        roles.require(session, settings, click.user, "analyst", gettext("change alerts"))
        if not click.first_time(session):
            return
        if deed == "test":
            alert = store.find(session, settings, name)
            submission = jobs.submit(
                session,
                settings,
                AlertTest(name=alert.name),
                requested_by=click.user,
                channel=channel,
                idem_key=click.key,
            )
        else:
            name = CHANGES[deed](session, settings, name, click.user).name
    if deed == "test":
        confirm(services, click, submission, private=channel == click.user)
    else:
        days = store.SNOOZE_DAYS if deed == "snooze" else None
        send_ephemeral(services, click, "alert/changed", name=name, deed=deed, days=days)
