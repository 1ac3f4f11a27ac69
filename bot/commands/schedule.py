"""`schedule`: run sweeps, digests, reports, retrains and imports by themselves."""

import re
import shlex

import click

from bot.commands.digest import Zone
from bot.commands.import_ import COMMAND as IMPORT
from bot.commands.parsing import parse
from bot.commands.tree import SLACK, TERMINAL, Answer, Call, group, integer
from retention.db.tables import Schedule
from retention.errors import BadInput
from retention.text import gettext
from workers import roles, schedule, schedule_changes
from workers.cadence import parse_every
from workers.delivery import outbox
from workers.requests import ImportFiles, Request

SCHEDULABLE = ("sweep", "digest", "recommend_report", "programme_report", "retrain", "data_quality")
NUMBER = click.argument("number", type=integer(), metavar="NUMBER")


@group(
    "schedule",
    default="list",
    help=gettext("Run lists, digests, reports and retrains by themselves."),
)
def COMMAND() -> None: ...


@COMMAND.command(
    "add",
    role="analyst",
    help=gettext(
        "Schedule a command: sweep, digest, report, data, retrain, or (in the terminal) import. "
        'Example: schedule add "sweep --tier high" --every "mon 09:00".'
    ),
)
@click.argument("command")
@click.option(
    "--every",
    required=True,
    metavar="WHEN",
    help=gettext('Such as "mon 09:00", "daily 09:00", "1st 09:00" or "last-working-day 09:00".'),
)
@click.option(
    "--zone", type=Zone(), metavar="ZONE", help=gettext("Time zone; by default the shop's.")
)
@click.option(
    "--channel",
    metavar="CHANNEL",
    help=gettext("Channel of the results; by default this one."),
)
def add(call: Call, command: str, every: str, zone: str | None, channel: str | None) -> Answer:
    """Schedule a command."""
    cadence = parse_every(every)
    request = scheduled_request(call, command)
    target = channel_id(channel) or call.channel
    if target and not outbox.is_slack_id(target):
        raise BadInput(
            gettext(
                "--channel is {channel!r}, which is no channel's id; give one like C0123ABCD."
            ).format(channel=target)
        )
    if not target and not isinstance(request, ImportFiles) and request.kind != "retrain":
        raise BadInput(
            gettext("--channel is missing; give the id of the channel that the results go to.")
        )
    services = call.services
    with services.database.transaction() as session:
        roles.require(session, services.settings, call.user, request.role, request.deed)
        if not call.first_time(session):
            row = schedule_changes.active(session, services.settings)[-1]
        else:
            row = schedule.add(
                session,
                services.settings,
                request.kind,
                request.model_dump(mode="json"),
                cadence.weekday,
                cadence.at,
                zone or services.settings.timezone,
                target,
                call.user,
                monthday=cadence.monthday,
                command=" ".join(command.split()),
            )
        data = schedule_changes.summary(row)
    is_stranger = call.surface == SLACK and target and not services.channels.can_post(target)
    return Answer("schedule/added", {**data, "stranger": bool(is_stranger)})


def channel_id(typed: str | None) -> str | None:
    """Return the id of a channel that was typed as a mention or an id."""
    if typed and typed.startswith("<#"):
        return typed[2:].rstrip(">").partition("|")[0]
    return typed


def scheduled_request(call: Call, text: str) -> Request:
    """Parse a command that is to be scheduled.

    Parameters
    ----------
    call : Call
        Person, place and services.
    text : str
        The command without ``/retention``.

    Returns
    -------
    Request

    Raises
    ------
    BadInput
        The command is unknown, has a fixed date or cannot be scheduled.
    """
    words = shlex.split(text) if call.surface == TERMINAL else []
    if words[:1] == ["import"]:
        return _import(words[1:])
    parsed = parse(re.sub(r"^\s*/?retention\s+", "", text))
    command = parsed.command
    if command.request is None or command.request.kind not in SCHEDULABLE:
        raise BadInput(
            gettext(
                "{command!r} cannot be scheduled; schedule sweep, digest, report, data or retrain."
            ).format(command=command.path)
        )
    fixed = next((name for name in ("as_of", "cutoff") if parsed.params.get(name)), None)
    if fixed:
        raise BadInput(
            gettext(
                "Leave out --{option}: a schedule always uses the data that it has when it runs."
            ).format(option=fixed.replace("_", "-"))
        )
    request = command.handle(call, parsed.params)
    if not isinstance(request, Request):
        raise TypeError(f"{command.path} returned no request")
    request.check_worker_limits()
    with call.services.database.reading() as session:
        request.check(session, call.services.settings)
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
    return ImportFiles(
        table=given["table"],
        files=tuple(given["files"]),
        map_path=str(map_path.absolute()) if map_path else None,
        format_name=given["format_name"],
        query=given["query"],
        source=given["source"],
    )


@COMMAND.command("list", role="viewer", help=gettext("All schedules with their next three runs."))
def listing(call: Call) -> Answer:
    """List the schedules."""
    services = call.services
    with services.database.reading() as session:
        rows = schedule_changes.summaries(session, services.settings)
        role = roles.role_of(session, services.settings, call.user)
    return Answer("schedule/list", {"schedules": rows, "may_change": roles.allows(role, "analyst")})


@COMMAND.command("pause", role="analyst", help=gettext("Stop a schedule until it is resumed."))
@NUMBER
def pause(call: Call, number: int) -> Answer:
    """Pause a schedule."""
    return _changed(call, number, "pause")


@COMMAND.command("resume", role="analyst", help=gettext("Let a paused schedule run again."))
@NUMBER
def resume(call: Call, number: int) -> Answer:
    """Resume a schedule."""
    return _changed(call, number, "resume")


@COMMAND.command("delete", role="analyst", help=gettext("Delete a schedule."))
@NUMBER
def delete(call: Call, number: int) -> Answer:
    """Delete a schedule."""
    return _changed(call, number, "delete")


def _changed(call: Call, number: int, deed: str) -> Answer:
    change = {
        "pause": schedule_changes.pause,
        "resume": schedule_changes.resume,
        "delete": schedule_changes.delete,
    }[deed]
    services = call.services
    with services.database.transaction() as session:
        if call.first_time(session):
            change(session, services.settings, number, call.user)
        row = session.get_one(Schedule, number)
        data = schedule_changes.summary(row)
    return Answer("schedule/changed", {**data, "deed": deed})


@COMMAND.command("run", role="analyst", help=gettext("Run a schedule's command now."))
@NUMBER
def run(call: Call, number: int) -> Answer:
    """Run a schedule now."""
    services = call.services
    with services.database.transaction() as session:
        submission = schedule_changes.run_now(
            session, services.settings, number, call.user, call.key
        )
        row = schedule_changes.find(session, services.settings, number)
        data = schedule_changes.summary(row)
    woken = services.queue.wake(submission.job) if submission.created else True
    return Answer(
        "schedule/changed",
        {**data, "deed": "run", "job": submission.job.id, "woken": woken},
    )
