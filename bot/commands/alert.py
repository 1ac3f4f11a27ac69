"""`alert`: hear of customers, campaigns, data and models when something happens."""

import click

from bot.commands.schedule import channel_id
from bot.commands.tree import AUDIENCE, SLACK, Answer, Call, group, integer, request
from retention import clock
from retention.alerts import store
from retention.alerts.condition import parse_condition
from retention.errors import BadInput
from retention.text import gettext
from workers import roles
from workers.audiences import check_exists
from workers.delivery import outbox
from workers.requests import AlertTest

CHANGES = {"mute": store.mute, "unmute": store.unmute, "delete": store.remove}


@group(
    "alert",
    default="list",
    help=gettext("Hear of customers, campaigns, data and models when something happens."),
)
def COMMAND() -> None: ...


@COMMAND.command(
    "add",
    role="analyst",
    help=gettext(
        "Add an alert. It fires once when its condition becomes true: customers who begin to meet "
        "an expression, lapses rise, campaign harm, data late > 2d, or model decayed. "
        'Example: alert add vip-risk --when "risk >= high and value > 200".'
    ),
)
@click.argument("name")
@click.option(
    "--when", "condition", required=True, metavar="CONDITION", help=gettext("What it waits for.")
)
@AUDIENCE
@click.option(
    "--channel", metavar="CHANNEL", help=gettext("Channel of its messages; by default this one.")
)
def add(call: Call, name: str, condition: str, audience: str | None, channel: str | None) -> Answer:
    """Add an alert. In Slack it is off until a button switches it on."""
    parsed = parse_condition(condition)
    services = call.services
    audience = check_exists(services.database, services.settings, audience)
    target = channel_id(channel) or call.channel
    if target and not outbox.is_slack_id(target):
        raise BadInput(
            gettext(
                "--channel is {channel!r}, which is no channel's id; give one like C0123ABCD."
            ).format(channel=target)
        )
    with services.database.transaction() as session:
        if call.first_time(session):
            alert = store.add(
                session,
                services.settings,
                name,
                parsed,
                audience=audience,
                channel=target,
                by=call.user,
                is_on=call.surface != SLACK,
            )
        else:
            alert = store.find(session, services.settings, name)
        data = {
            "name": alert.name,
            "condition": alert.condition,
            "condition_words": store.condition_of(alert).in_words,
            "audience": alert.audience,
            "channel": alert.channel,
            "status": store.status(alert, clock.now()),
        }
    return Answer("alert/added", data)


@COMMAND.command("list", role="viewer", help=gettext("All alerts and when they last fired."))
def listing(call: Call) -> Answer:
    """List the alerts."""
    services = call.services
    with services.database.reading() as session:
        rows = store.summaries(session, services.settings)
        role = roles.role_of(session, services.settings, call.user)
    return Answer("alert/list", {"alerts": rows, "may_change": roles.allows(role, "analyst")})


@COMMAND.command(
    "test",
    request=AlertTest,
    help=gettext("Try an alert on the past 90 days: how often it would have fired."),
)
@click.argument("name")
def test(call: Call, name: str) -> AlertTest:
    """Queue the trial of an alert."""
    with call.services.database.reading() as session:
        known = store.find(session, call.services.settings, name).name
    return request(AlertTest, name=known)


@COMMAND.command("mute", role="analyst", help=gettext("Switch an alert off."))
@click.argument("name")
def mute(call: Call, name: str) -> Answer:
    """Mute an alert."""
    return _changed(call, name, "mute")


@COMMAND.command("unmute", role="analyst", help=gettext("Switch an alert on."))
@click.argument("name")
def unmute(call: Call, name: str) -> Answer:
    """Unmute an alert."""
    return _changed(call, name, "unmute")


@COMMAND.command("snooze", role="analyst", help=gettext("Keep an alert silent for some days."))
@click.argument("name")
@click.option(
    "--days", type=integer(1, 90), default=7, metavar="N", help=gettext("For how many days.")
)
def snooze(call: Call, name: str, days: int) -> Answer:
    """Snooze an alert."""
    with call.services.database.transaction() as session:
        if call.first_time(session):
            store.snooze(session, call.services.settings, name, call.user, days)
    return Answer("alert/changed", {"name": name.lower(), "deed": "snooze", "days": days})


@COMMAND.command("delete", role="analyst", help=gettext("Delete an alert."))
@click.argument("name")
def delete(call: Call, name: str) -> Answer:
    """Delete an alert."""
    return _changed(call, name, "delete")


def _changed(call: Call, name: str, deed: str) -> Answer:
    with call.services.database.transaction() as session:
        if call.first_time(session):
            name = CHANGES[deed](session, call.services.settings, name, call.user).name
    return Answer("alert/changed", {"name": name.lower(), "deed": deed, "days": None})
