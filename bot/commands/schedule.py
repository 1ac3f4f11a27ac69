"""`schedule`: run sweeps, digests, reports, retrains and imports by themselves."""

import re
import shlex
from collections.abc import Callable
from typing import Any

import click

from bot.commands.import_ import COMMAND as IMPORT
from bot.commands.parameters import integer, option
from bot.commands.parsing import parse
from bot.commands.reports import Zone
from bot.commands.tree import SLACK, TERMINAL, Answer, Call, group
from retention.db.tables import Schedule
from retention.errors import BadInput
from retention.text import gettext
from workers import user_roles
from workers.delivery import outbox
from workers.job_requests import ImportFiles, Request
from workers.schedule import schedule_changes, tick
from workers.schedule.cadence import parse_every

SCHEDULABLE = ("sweep", "digest", "recommend_report", "programme_report", "retrain", "data_quality")
NUMBER = click.argument("number", type=integer(), metavar="NUMBER")


COMMAND = group("schedule", default="list")


@COMMAND.command(
    "add",
    role="analyst",
    help=gettext(
        "Schedule a command: sweep, digest, report, data, retrain, or (in the terminal) import. "
        'Example: schedule add "sweep --tier high" --every "mon 09:00".'
    ),
)
@click.argument("command")
@option(
    "--every",
    gettext('Such as "mon 09:00", "daily 09:00", "1st 09:00" or "last-working-day 09:00".'),
    metavar="WHEN",
    required=True,
)
@option("--zone", gettext("Time zone; by default the shop's."), Zone(), "ZONE")
@option("--channel", gettext("Channel of the results; by default this one."), metavar="CHANNEL")
def add(call: Call, command: str, every: str, zone: str | None, channel: str | None) -> Answer:
    """Schedule a command."""
    cadence = parse_every(every)
    request = scheduled_request(call, command)
    target = channel_id(channel) or call.channel
    if not target and not isinstance(request, ImportFiles) and request.kind != "retrain":
        raise BadInput(
            gettext("--channel is missing; give the id of the channel that the results go to.")
        )
    with call.database.transaction() as session:
        user_roles.require(session, call.user, request.role, request.deed)
        if not call.first_time(session):
            row = schedule_changes.active(session)[-1]
        else:
            timezone, line = zone or call.settings.timezone, " ".join(command.split())
            row = tick.add(
                session, request, cadence, timezone, channel=target, by=call.user, command=line
            )
        data = schedule_changes.summary(row)
    is_stranger = call.surface == SLACK and target and not call.services.channels.can_post(target)
    return Answer("schedule/added", {**data, "stranger": bool(is_stranger)})


def channel_id(typed: str | None) -> str | None:
    """Return the id of a channel that was typed as a mention or an id."""
    if typed and typed.startswith("<#"):
        typed = typed[2:].rstrip(">").partition("|")[0]
    if typed and not outbox.is_slack_id(typed):
        message = gettext(
            "--channel is {channel!r}, which is no channel's id; give one like C0123ABCD."
        )
        raise BadInput(message.format(channel=typed), field="channel")
    return typed


def scheduled_request(call: Call, text: str) -> Request:
    """Parse a command that is to be scheduled.

    `text`: the command without ``/retention``.
    """
    words = shlex.split(text) if call.surface == TERMINAL else []
    if words[:1] == ["import"]:
        return _import(words[1:])
    parsed = parse(re.sub(r"^\s*/?retention\s+", "", text))
    command = parsed.command
    if command.request is None or command.request.kind not in SCHEDULABLE:
        message = gettext(
            "{command!r} cannot be scheduled; schedule sweep, digest, report, data or retrain."
        )
        raise BadInput(message.format(command=command.path))
    fixed = next((name for name in ("as_of", "cutoff") if parsed.params.get(name)), None)
    if fixed:
        message = gettext(
            "Leave out --{option}: a schedule always uses the data that it has when it runs."
        )
        raise BadInput(message.format(option=fixed.replace("_", "-")))
    request = command.handle(call, parsed.params)
    if not isinstance(request, Request):
        raise TypeError(f"{command.path} returned no request")
    request.check_worker_limits(call.settings)
    with call.database.reading() as session:
        request.check(session)
    return request


def _import(words: list[str]) -> Request:
    """Return the request of a scheduled import; its files are read anew at each run."""
    try:
        with IMPORT.make_context("import", words) as context:
            given = context.params
    except click.UsageError as error:
        raise BadInput(error.format_message()) from None
    if given["suggested"] is not None:
        raise BadInput(gettext("Leave out --suggest-map: it imports nothing."))
    map_path = given["map_path"]
    same = {name: given[name] for name in ("table", "files", "format_name", "query", "source")}
    return ImportFiles(map_path=str(map_path.absolute()) if map_path else None, **same)


@COMMAND.command("list", role="viewer", help=gettext("All schedules with their next three runs."))
def listing(call: Call) -> Answer:
    """List the schedules."""
    with call.database.reading() as session:
        rows = schedule_changes.summaries(session)
        role = user_roles.role_of(session, call.user)
    return Answer(
        "schedule/list", {"schedules": rows, "may_change": user_roles.allows(role, "analyst")}
    )


def _add_change(deed: str, change: Callable[..., Any], help: str) -> None:
    @COMMAND.command(deed, role="analyst", help=help)
    @NUMBER
    def changed(call: Call, number: int) -> Answer:
        with call.database.transaction() as session:
            if call.first_time(session):
                change(session, number, call.user)
            data = schedule_changes.summary(session.get_one(Schedule, number))
        return Answer("schedule/changed", {**data, "deed": deed})


_add_change("pause", schedule_changes.pause, gettext("Stop a schedule until it is resumed."))
_add_change("resume", schedule_changes.resume, gettext("Let a paused schedule run again."))
_add_change("delete", schedule_changes.delete, gettext("Delete a schedule."))


@COMMAND.command("run", role="analyst", help=gettext("Run a schedule's command now."))
@NUMBER
def run(call: Call, number: int) -> Answer:
    """Run a schedule now."""
    with call.database.transaction() as session:
        submission = schedule_changes.run_now(session, number, call.user, call.key)
        data = schedule_changes.summary(schedule_changes.find(session, number))
    woken = call.services.queue.wake(submission.job) if submission.created else True
    data |= {"deed": "run", "job": submission.job.id, "woken": woken}
    return Answer("schedule/changed", data)
