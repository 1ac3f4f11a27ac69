"""`digest`: post the weekly summary now or on a schedule."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

import click
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from bot.commands.tree import (
    WHERE,
    Answer,
    Call,
    TerminalOption,
    choice,
    group,
    integer,
    request,
)
from retention.clock import time_zones
from retention.db.tables import Schedule
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext
from workers import schedule
from workers.audiences import check_condition, check_exists
from workers.delivery import outbox
from workers.requests import Digest

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class _TimeOfDay(click.ParamType):
    name = "HH:MM"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        match = re.fullmatch(r"(\d{1,2})[:.](\d{2})", str(value))
        if not match or int(match[1]) > 23 or int(match[2]) > 59:
            message = gettext("{value!r} is no time of day; write it like 09:00.")
            self.fail(message.format(value=value), param, ctx)
        return f"{int(match[1]):02}:{match[2]}"


class _Day(click.Choice):
    """A weekday or ``daily``; "mon" is "monday"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        typed = str(value).lower()
        long = next((day for day in DAYS if typed in (day[:3], day[:4], f"{day}s")), typed)
        return choice(*self.choices).convert(long, param, ctx)


class Zone(click.ParamType):
    """An IANA time zone; an error names the nearest."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        zones = {zone.lower(): zone for zone in time_zones()}
        name = str(value).replace(" ", "_").lower()
        if name not in zones:
            nearest = difflib.get_close_matches(name, zones, 1) or ["europe/london"]
            message = gettext("{value!r} is no time zone; did you mean {nearest}?")
            self.fail(message.format(value=value, nearest=zones[nearest[0]]), param, ctx)
        return zones[name]


@group("digest", default="now", help=gettext("The week in one message, now or each week."))
def COMMAND() -> None: ...


@COMMAND.command("now", request=Digest, help=gettext("The digest of the past week, here and now."))
@click.option("--audience", metavar="NAME", help=gettext("Also show this saved audience's week."))
@WHERE
def now(call: Call, audience: str | None = None, where: str | None = None) -> Digest:
    """Queue the digest of the past week."""
    audience = check_exists(call.services.database, call.services.settings, audience)
    return request(Digest, audience=audience, where=check_condition(where))


@COMMAND.command(
    "schedule",
    role="analyst",
    help=gettext(
        "Post the digest in this channel each week, by itself; a new time replaces the one before."
    ),
)
@click.option(
    "--day",
    type=_Day(("daily", *DAYS)),
    default="monday",
    help=gettext("On which day of the week."),
)
@click.option(
    "--at",
    type=_TimeOfDay(),
    default="09:00",
    metavar="HH:MM",
    help=gettext("At what time, there."),
)
@click.option(
    "--timezone",
    type=Zone(),
    metavar="ZONE",
    help=gettext("Where; by default the shop's own time zone."),
)
@click.option(
    "--channel",
    cls=TerminalOption,
    metavar="CHANNEL",
    help=gettext("The id of the channel it goes to."),
)
def add_schedule(
    call: Call, day: str, at: str, timezone: str | None, channel: str | None = None
) -> Answer:
    """Schedule the digest for a channel.

    Replaces the channel's schedule.
    """
    services = call.services
    target = channel or call.channel
    if not target:
        raise BadInput(
            gettext("--channel is missing; give the id of the channel that the digest goes to.")
        )
    if not outbox.is_slack_id(target):
        raise BadInput(
            gettext(
                "--channel is {channel!r}, which is no channel's id; give one like C0123ABCD (in "
                "Slack a click on the channel's name shows it, below everything else)."
            ).format(channel=target)
        )
    zone = timezone or services.settings.timezone
    with services.database.transaction() as session:
        replaced: list[dict[str, Any]] = []
        if call.first_time(session):
            replaced = replace_schedule(
                session,
                services.settings,
                channel=target,
                day=day,
                at=at,
                timezone=zone,
                user=call.user,
            )
    is_stranger = call.channel is not None and not services.channels.can_post(call.channel)
    return Answer(
        "bot/digest_scheduled",
        {
            "day": day,
            "at": at,
            "timezone": zone,
            "channel": target,
            "stranger": is_stranger,
            # The same time again replaces nothing that a person could notice.
            "replaced": [
                one
                for one in replaced
                if (one["day"], one["at"], one["timezone"]) != (day, at, zone)
            ],
        },
    )


def replace_schedule(
    session: Session,
    settings: Settings,
    *,
    channel: str,
    day: str,
    at: str,
    timezone: str,
    user: str,
    args: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Schedule a channel's digest instead of those before.

    Parameters
    ----------
    session : Session
        The caller's transaction.
    settings : Settings
        The installation.
    channel : str
        Channel id.
    day : str
        ``daily`` or one of `DAYS`.
    at : str
        Local time ``HH:MM``.
    timezone : str
        IANA zone.
    user : str
        Slack user id of the person who schedules it.
    args : mapping, optional
        Arguments of the request; by default those of the schedule that it replaces.

    Returns
    -------
    list of dict
        The schedules that it replaces.
    """
    before = _active_in(settings).where(Schedule.channel == channel)
    if args is None:
        newest = session.scalars(before.order_by(Schedule.id.desc())).first()
        args = newest.args if newest else {}
    replaced = _stop(session, before)
    weekday = DAYS.index(day) if day in DAYS else None
    schedule.add(session, settings, "digest", dict(args), weekday, at, timezone, channel, user)
    return replaced


@COMMAND.command("list", role="viewer", help=gettext("When and where digests are posted."))
def listing(call: Call) -> Answer:
    """List the schedules."""
    with call.services.database.reading() as session:
        schedules = session.scalars(_active(call).order_by(Schedule.id)).all()
    return Answer("bot/digests", {"schedules": [_described(row) for row in schedules]})


@COMMAND.command(
    "off",
    role="analyst",
    help=gettext(
        "Stop a scheduled digest: that of this channel, or the one with this number in "
        "`digest list`."
    ),
)
@click.argument("number", type=integer(), required=False, metavar="[NUMBER]")
def off(call: Call, number: int | None) -> Answer:
    """Stop a scheduled digest."""
    condition = Schedule.id == number if number is not None else Schedule.channel == call.channel
    with call.services.database.transaction() as session:
        query = _active(call) if call.first_time(session) else _last_stopped(call)
        stopped = _stop(session, query.where(condition))
        if not stopped:
            message = (
                gettext(
                    "There is no scheduled digest for this channel; see `/retention digest list`."
                )
                if number is None
                else gettext(
                    "There is no scheduled digest with the number {number}; "
                    "see `/retention digest list`."
                )
            )
            raise BadInput(message.format(number=number))
    return Answer("bot/digest_off", {"schedules": stopped})


def _digests(settings: Settings) -> Select[Schedule]:
    return select(Schedule).where(Schedule.team_id == settings.team_id, Schedule.kind == "digest")


def _active_in(settings: Settings) -> Select[Schedule]:
    return _digests(settings).where(Schedule.active)


def _active(call: Call) -> Select[Schedule]:
    return _active_in(call.services.settings)


def _last_stopped(call: Call) -> Select[Schedule]:
    """Select the last stopped schedule.

    A repeated delivery gets it as its answer.
    """
    return (
        _digests(call.services.settings)
        .where(~Schedule.active)
        .order_by(Schedule.id.desc())
        .limit(1)
    )


def _stop(session: Session, query: Select[Schedule]) -> list[dict[str, Any]]:
    schedules = session.scalars(query).all()
    for row in schedules:
        row.active = False
    return [_described(row) for row in schedules]


def _described(row: Schedule) -> dict[str, Any]:
    return {
        "number": row.id,
        "day": "daily" if row.weekday is None else DAYS[row.weekday],
        "at": row.at,
        "timezone": row.timezone,
        "channel": row.channel,
        "created_by": row.created_by,
    }
