"""`digest`: the week in one message, now or each week."""

import difflib
import re
from typing import Any
from zoneinfo import available_timezones

import click
from sqlalchemy import select

from bot.commands.tree import Answer, Call, TerminalOption, choice, group, request, whole
from retention.db.tables import Schedule
from retention.errors import BadInput
from workers import schedule
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
@click.option("--day", type=choice("daily", *DAYS), default="monday", help="On which day of the week.")
@click.option("--at", type=_TimeOfDay(), default="09:00", metavar="HH:MM", help="At what time, there.")
@click.option("--timezone", type=_Zone(), metavar="ZONE", help="Where; by default the shop's own time zone.")
@click.option("--channel", cls=TerminalOption, metavar="CHANNEL", help="The id of the channel it goes to.")
def plan(call: Call, day: str, at: str, timezone: str | None, channel: str | None = None) -> Answer:
    """Post the digest in this channel each week, by itself."""
    services = call.services
    where = channel or call.channel
    if not where:
        raise BadInput("--channel is missing; give the id of the channel that the digest goes to.")
    zone = timezone or services.settings.timezone
    weekday = DAYS.index(day) if day in DAYS else None
    with services.database.transaction() as session:
        if call.first_time(session):
            schedule.add(session, services.settings, "digest", {}, weekday, at, zone, where, call.user)
    stranger = call.channel is not None and not services.places.can_post(call.channel)
    return Answer(
        "bot/digest_scheduled",
        {"day": day, "at": at, "timezone": zone, "channel": where, "stranger": stranger},
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
    asked = _active(call)
    asked = (
        asked.where(Schedule.id == number)
        if number is not None
        else asked.where(Schedule.channel == call.channel)
    )
    with call.services.database.transaction() as session:
        found = session.scalars(asked).all()
        if not found:
            which = f"with the number {number}" if number is not None else "for this channel"
            raise BadInput(f"There is no scheduled digest {which}; see `/retention digest list`.")
        for one in found:
            one.active = False
        return Answer("bot/digest_off", {"schedules": [_described(one) for one in found]})


def _active(call: Call):
    mine = Schedule.team_id == call.services.settings.team_id
    return select(Schedule).where(mine, Schedule.kind == "digest", Schedule.active)


def _described(one: Schedule) -> dict[str, Any]:
    return {
        "number": one.id, "day": "daily" if one.weekday is None else DAYS[one.weekday], "at": one.at,
        "timezone": one.timezone, "channel": one.channel, "created_by": one.created_by,
    }  # fmt: skip
