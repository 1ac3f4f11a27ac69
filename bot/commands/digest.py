"""`digest`: the week in one message, now or each week."""

import difflib
import re
from typing import Any
from zoneinfo import available_timezones

import click
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from bot.commands.tree import Answer, Call, TerminalOption, choice, group, request, whole
from retention.db.tables import Schedule
from retention.errors import BadInput
from retention.text import gettext
from workers import schedule
from workers.delivery import outbox
from workers.requests import Digest

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class _TimeOfDay(click.ParamType):
    name = "HH:MM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        match = re.fullmatch(r"(\d{1,2})[:.](\d{2})", str(value))
        if not match or int(match[1]) > 23 or int(match[2]) > 59:
            self.fail(f"{value!r} is no time of day; write it like 09:00.", param, ctx)
        return f"{int(match[1]):02}:{match[2]}"


class _Zone(click.ParamType):
    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        zones = {zone.lower(): zone for zone in available_timezones()}
        asked = str(value).replace(" ", "_").lower()
        if asked not in zones:
            near = difflib.get_close_matches(asked, zones, 1) or ["europe/london"]
            self.fail(f"{value!r} is no time zone; did you mean {zones[near[0]]}?", param, ctx)
        return zones[asked]


@group("digest", default="now", help="The week in one message, now or each week.")
def COMMAND() -> None: ...


@COMMAND.command("now", request=Digest)
def now(call: Call) -> Digest:
    """The digest of the past week, here and now."""
    return request(Digest)


@COMMAND.command("schedule", role="analyst")
@click.option(
    "--day", type=choice("daily", *DAYS), default="monday", help="On which day of the week."
)
@click.option(
    "--at", type=_TimeOfDay(), default="09:00", metavar="HH:MM", help="At what time, there."
)
@click.option(
    "--timezone", type=_Zone(), metavar="ZONE", help="Where; by default the shop's own time zone."
)
@click.option(
    "--channel", cls=TerminalOption, metavar="CHANNEL", help="The id of the channel it goes to."
)
def plan(call: Call, day: str, at: str, timezone: str | None, channel: str | None = None) -> Answer:
    """Post the digest in this channel each week, by itself; a new time replaces the one before."""
    services = call.services
    where = channel or call.channel
    if not where:
        raise BadInput(
            gettext("--channel is missing; give the id of the channel that the digest goes to.")
        )
    if not outbox.reachable(where):
        raise BadInput(
            gettext(
                "--channel is {where!r}, which is no channel's id; give one like C0123ABCD (in "
                "Slack a click on the channel's name shows it, below everything else)."
            ).format(where=where)
        )
    zone = timezone or services.settings.timezone
    weekday = DAYS.index(day) if day in DAYS else None
    with services.database.transaction() as session:
        replaced: list[dict[str, Any]] = []
        if call.first_time(session):
            replaced = _switched_off(session, _active(call).where(Schedule.channel == where))
            schedule.add(
                session, services.settings, "digest", {}, weekday, at, zone, where, call.user
            )
    stranger = call.channel is not None and not services.channels.can_post(call.channel)
    return Answer(
        "bot/digest_scheduled",
        {
            "day": day,
            "at": at,
            "timezone": zone,
            "channel": where,
            "stranger": stranger,
            "replaced": replaced,
        },
    )


@COMMAND.command("list", role="viewer")
def listing(call: Call) -> Answer:
    """When and where digests are posted."""
    with call.services.database.reading() as session:
        found = session.scalars(_active(call).order_by(Schedule.id)).all()
    return Answer("bot/digests", {"schedules": [_described(one) for one in found]})


@COMMAND.command("off", role="analyst")
@click.argument("number", type=whole(), required=False, metavar="[NUMBER]")
def off(call: Call, number: int | None) -> Answer:
    """Stop a scheduled digest: that of this channel, or the one with this number in `digest list`."""
    this = Schedule.id == number if number is not None else Schedule.channel == call.channel
    with call.services.database.transaction() as session:
        asked = _active(call) if call.first_time(session) else _off(call)
        off_now = _switched_off(session, asked.where(this))
        if not off_now:
            which = f"with the number {number}" if number is not None else "for this channel"
            raise BadInput(
                gettext(
                    "There is no scheduled digest {which}; see `/retention digest list`."
                ).format(which=which)
            )
    return Answer("bot/digest_off", {"schedules": off_now})


def _digests(call: Call) -> Select[Schedule]:
    return select(Schedule).where(
        Schedule.team_id == call.services.settings.team_id, Schedule.kind == "digest"
    )


def _active(call: Call) -> Select[Schedule]:
    return _digests(call).where(Schedule.active)


def _off(call: Call) -> Select[Schedule]:
    """What was switched off last: what is said again where the command is delivered twice."""
    return _digests(call).where(~Schedule.active).order_by(Schedule.id.desc()).limit(1)


def _switched_off(session: Session, asked: Select[Schedule]) -> list[dict[str, Any]]:
    found = session.scalars(asked).all()
    for one in found:
        one.active = False
    return [_described(one) for one in found]


def _described(one: Schedule) -> dict[str, Any]:
    return {
        "number": one.id,
        "day": "daily" if one.weekday is None else DAYS[one.weekday],
        "at": one.at,
        "timezone": one.timezone,
        "channel": one.channel,
        "created_by": one.created_by,
    }
