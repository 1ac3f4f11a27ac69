"""`alert`: hear of customers, campaigns, data and models when something happens."""

from collections.abc import Callable

import click

from bot.commands.parameters import AUDIENCE, integer, option
from bot.commands.schedule import channel_id
from bot.commands.tree import SLACK, Answer, Call, fields_of, group, request
from retention import clock
from retention.alerts import store
from retention.alerts.condition import parse_condition
from retention.db.tables import Alert
from retention.text import gettext
from workers import user_roles
from workers.customers.audience_filter import check_exists
from workers.job_requests import AlertTest

COMMAND = group("alert", default="list")


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
@option(
    "--when", gettext("What it waits for."), metavar="CONDITION", into="condition", required=True
)
@AUDIENCE
@option("--channel", gettext("Channel of its messages; by default this one."), metavar="CHANNEL")
def add(call: Call, name: str, condition: str, audience: str | None, channel: str | None) -> Answer:
    """Add an alert. In Slack it is off until a button switches it on."""
    parsed = parse_condition(condition)
    audience = check_exists(call.database, audience)
    target = channel_id(channel) or call.channel
    with call.database.transaction() as session:
        if call.first_time(session):
            is_on = call.surface != SLACK
            alert = store.add(
                session, name, parsed, audience=audience, channel=target, by=call.user, is_on=is_on
            )
        else:
            alert = store.find(session, name)
        data = {
            **fields_of(alert, "name", "condition", "audience", "channel"),
            "condition_words": store.condition_of(alert).in_words,
            "status": store.status(alert, clock.now()),
        }
    return Answer("alert/added", data)


@COMMAND.command("list", role="viewer", help=gettext("All alerts and when they last fired."))
def listing(call: Call) -> Answer:
    """List the alerts."""
    with call.database.reading() as session:
        rows = store.summaries(session)
        role = user_roles.role_of(session, call.user)
    return Answer("alert/list", {"alerts": rows, "may_change": user_roles.allows(role, "analyst")})


@COMMAND.command(
    "test",
    request=AlertTest,
    help=gettext("Try an alert on the past 90 days: how often it would have fired."),
)
@click.argument("name")
def test(call: Call, name: str) -> AlertTest:
    """Queue the trial of an alert."""
    with call.database.reading() as session:
        known = store.find(session, name).name
    return request(AlertTest, name=known)


def _add_change(deed: str, change: Callable[..., Alert], help: str) -> None:
    @COMMAND.command(deed, role="analyst", help=help)
    @click.argument("name")
    def changed(call: Call, name: str) -> Answer:
        with call.database.transaction() as session:
            if call.first_time(session):
                name = change(session, name, call.user).name
        return Answer("alert/changed", {"name": name.lower(), "deed": deed, "days": None})


_add_change("mute", store.mute, gettext("Switch an alert off."))
_add_change("unmute", store.unmute, gettext("Switch an alert on."))
_add_change("delete", store.remove, gettext("Delete an alert."))


@COMMAND.command("snooze", role="analyst", help=gettext("Keep an alert silent for some days."))
@click.argument("name")
@option("--days", gettext("For how many days."), integer(1, 90), "N", default=7)
def snooze(call: Call, name: str, days: int) -> Answer:
    """Snooze an alert."""
    with call.database.transaction() as session:
        if call.first_time(session):
            store.snooze(session, name, call.user, days)
    return Answer("alert/changed", {"name": name.lower(), "deed": "snooze", "days": days})
