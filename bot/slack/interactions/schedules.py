"""Handle the menu of a schedule."""

from slack_bolt import App

from bot.services import Services
from bot.slack.interactions import Click, confirm, listen, send_ephemeral
from retention.errors import BadInput
from retention.text import gettext
from workers import ids, roles
from workers.schedule import schedule_changes

CHANGES = {
    "pause": schedule_changes.pause,
    "resume": schedule_changes.resume,
    "delete": schedule_changes.delete,
}


def register(app: App, services: Services) -> None:
    """Listen to the menu."""
    listen(app, services, {ids.SCHEDULE_MENU: _apply_choice})


def _apply_choice(services: Services, click: Click) -> None:
    """Run, pause, resume or delete a schedule, and confirm it."""
    deed, _, number = click.value.partition("|")
    if not number.isdigit() or deed not in (*CHANGES, "run"):
        text = gettext("This menu is of another version; `/retention schedule list` has a new one.")
        raise BadInput(text)
    with services.database.transaction() as session:
        roles.require(session, click.user, "analyst", gettext("change schedules"))
        if not click.first_time(session):
            return
        if deed == "run":
            submission = schedule_changes.run_now(session, int(number), click.user, click.key)
        else:
            row = CHANGES[deed](session, int(number), click.user)
            data = schedule_changes.summary(row)
    if deed == "run":
        confirm(services, click, submission, private=False)
    else:
        send_ephemeral(services, click, "schedule/changed", **data, deed=deed)
