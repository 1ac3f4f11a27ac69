"""Handle the menus and buttons of alerts, schedules and sources."""

from dataclasses import replace

from slack_bolt import App

from bot.services import Services
from bot.slack.interactions import Click, confirm, listen, once, send_ephemeral, submit
from retention import clock
from retention.alerts import store
from retention.connect.sources import source_records
from retention.errors import BadInput
from retention.text import gettext
from workers import action_ids
from workers.data.source_pulls import next_pull
from workers.job_requests import AlertTest, SourcePull
from workers.schedule import schedule_changes

ALERT_CHANGES = {
    "mute": store.mute,
    "unmute": store.unmute,
    "snooze": store.snooze,
    "delete": store.remove,
}
SCHEDULE_CHANGES = {
    "pause": schedule_changes.pause,
    "resume": schedule_changes.resume,
    "delete": schedule_changes.delete,
}


def register(app: App, services: Services) -> None:
    """Listen to the menus and buttons."""
    clicks = {
        action_ids.ALERT_MENU: _choose_for_alert,
        action_ids.ALERT_TEST: _test_alert,
        action_ids.ALERT_ON: _switch_alert_on,
        action_ids.SCHEDULE_MENU: _choose_for_schedule,
        action_ids.SOURCE_MENU: _choose_for_source,
        action_ids.SOURCE_ACCEPT: _accept_source,
    }
    listen(app, services, clicks)


def _choose_for_alert(services: Services, click: Click) -> None:
    deed, _, name = click.value.partition("|")
    if deed == "test":
        _test_alert(services, replace(click, value=name))
    else:
        _change_alert(services, click, deed, name)


def _test_alert(services: Services, click: Click) -> None:
    submit(services, click, AlertTest(name=click.value), check=store.find)


def _switch_alert_on(services: Services, click: Click) -> None:
    _change_alert(services, click, "unmute", click.value)


def _change_alert(services: Services, click: Click, deed: str, name: str) -> None:
    """Mute, snooze, switch on or delete an alert, and confirm it."""
    if deed not in ALERT_CHANGES:
        text = gettext("This menu is of another version; `/retention alert list` has a new one.")
        raise BadInput(text)
    with once(services, click, "analyst", gettext("change alerts")) as session:
        name = ALERT_CHANGES[deed](session, name, click.user).name
    days = store.SNOOZE_DAYS if deed == "snooze" else None
    send_ephemeral(services, click, "alert/changed", name=name, deed=deed, days=days)


def _choose_for_schedule(services: Services, click: Click) -> None:
    """Run, pause, resume or delete a schedule, and confirm it."""
    deed, _, number = click.value.partition("|")
    if not number.isdigit() or deed not in (*SCHEDULE_CHANGES, "run"):
        text = gettext("This menu is of another version; `/retention schedule list` has a new one.")
        raise BadInput(text)
    with once(services, click, "analyst", gettext("change schedules")) as session:
        if deed == "run":
            submission = schedule_changes.run_now(session, int(number), click.user, click.key)
        else:
            row = SCHEDULE_CHANGES[deed](session, int(number), click.user)
            data = schedule_changes.summary(row)
    if deed == "run":
        confirm(services, click, submission, private=False)
    else:
        send_ephemeral(services, click, "schedule/changed", **data, deed=deed)


def _choose_for_source(services: Services, click: Click) -> None:
    deed, _, name = click.value.partition("|")
    if deed == "run":
        chosen = replace(click, value=name)
        submit(services, chosen, SourcePull(name=name), check=source_records.find)
    else:
        _change_source(services, click, deed, name)


def _accept_source(services: Services, click: Click) -> None:
    request = SourcePull(name=click.value, accept_shrunk=True)
    submit(services, click, request, check=source_records.find)


def _change_source(services: Services, click: Click, deed: str, name: str) -> None:
    """Pause or resume a source, and confirm it."""
    next_at = None
    if deed not in ("pause", "resume"):
        text = gettext("This menu is of another version; `/retention source list` has a new one.")
        raise BadInput(text)
    with once(services, click, "admin", gettext("change sources")) as session:
        if deed == "pause":
            source_records.pause(session, name, click.user)
        else:
            source = source_records.find(session, name)
            next_at = next_pull(source.every, source.timezone, clock.now())
            source_records.resume(session, name, click.user, next_at)
    at = next_at and next_at.isoformat()
    send_ephemeral(services, click, "source/changed", name=name, deed=deed, next_at=at)
