"""Handle the menu of a schedule."""

from typing import Any

from slack_bolt import Ack, App

from bot.interactions import Click, confirm, send_ephemeral
from bot.services import Services
from retention.errors import BadInput
from retention.text import gettext
from workers import ids, roles, schedule_changes

CHANGES = {
    "pause": schedule_changes.pause,
    "resume": schedule_changes.resume,
    "delete": schedule_changes.delete,
}


def register(app: App, services: Services) -> None:
    """Listen to the menu.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.action(ids.SCHEDULE_MENU)
    def chosen(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        apply_choice(services, Click.of(body))


def apply_choice(services: Services, click: Click) -> None:
    """Run, pause, resume or delete a schedule, and confirm it.

    Parameters
    ----------
    services : Services
        The installation's services.
    click : Click
        Its value is the deed and the number of the schedule.
    """
    deed, _, number = click.value.partition("|")
    if not number.isdigit() or deed not in (*CHANGES, "run"):
        raise BadInput(
            gettext("This menu is of another version; `/retention schedule list` has a new one.")
        )
    settings = services.settings
    with services.database.transaction() as session:
        roles.require(session, settings, click.user, "analyst", gettext("change schedules"))
        if not click.first_time(session):
            return
        if deed == "run":
            submission = schedule_changes.run_now(
                session, settings, int(number), click.user, click.key
            )
        else:
            row = CHANGES[deed](session, settings, int(number), click.user)
            data = schedule_changes.summary(row)
    if deed == "run":
        confirm(services, click, submission, private=False)
    else:
        send_ephemeral(services, click, "schedule/changed", **data, deed=deed)
