"""Handle the menus and buttons of alerts."""

from dataclasses import replace

from slack_bolt import App

from bot.services import Services
from bot.slack.interactions import Click, listen, send_ephemeral, submit
from retention.alerts import store
from retention.errors import BadInput
from retention.text import gettext
from workers import ids, roles
from workers.requests import AlertTest

CHANGES = {
    "mute": store.mute,
    "unmute": store.unmute,
    "snooze": store.snooze,
    "delete": store.remove,
}


def register(app: App, services: Services) -> None:
    """Listen to the menus and buttons."""
    clicks = {ids.ALERT_MENU: _choose, ids.ALERT_TEST: _test, ids.ALERT_ON: _switch_on}
    listen(app, services, clicks)


def _choose(services: Services, click: Click) -> None:
    deed, _, name = click.value.partition("|")
    if deed == "test":
        _test(services, replace(click, value=name))
    else:
        _change(services, click, deed, name)


def _test(services: Services, click: Click) -> None:
    submit(services, click, AlertTest(name=click.value), check=store.find)


def _switch_on(services: Services, click: Click) -> None:
    _change(services, click, "unmute", click.value)


def _change(services: Services, click: Click, deed: str, name: str) -> None:
    """Mute, snooze, switch on or delete an alert, and confirm it."""
    if deed not in CHANGES:
        text = gettext("This menu is of another version; `/retention alert list` has a new one.")
        raise BadInput(text)
    with services.database.transaction() as session:
        roles.require(session, click.user, "analyst", gettext("change alerts"))
        if not click.first_time(session):
            return
        name = CHANGES[deed](session, name, click.user).name
    days = store.SNOOZE_DAYS if deed == "snooze" else None
    send_ephemeral(services, click, "alert/changed", name=name, deed=deed, days=days)
