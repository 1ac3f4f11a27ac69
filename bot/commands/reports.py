"""`digest`: the week in one message. `report`: how things turn out. `calendar`: what comes."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Select, select

from bot.commands.parameters import (
    AS_OF,
    DAYS,
    WHERE,
    choice,
    html_option,
    integer,
    option,
    scoped_request,
)
from bot.commands.tree import Answer, Call, TerminalOption, command, fields_of, group, request
from retention import clock
from retention.campaigns.planning.calendar import coming_weeks
from retention.clock import time_zones
from retention.db import Transaction
from retention.db.tables import Schedule
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext
from workers.delivery import outbox
from workers.job_requests import Digest, ProgrammeReport, PromisesReport, RecommendReport
from workers.schedule import tick
from workers.schedule.cadence import Cadence

MAX_WEEKS = 26  # of the calendar
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


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
        long = next((day for day in WEEKDAYS if typed in (day[:3], day[:4], f"{day}s")), typed)
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


DIGEST = group("digest", default="now")


@DIGEST.command("now", request=Digest, help=gettext("The digest of the past week, here and now."))
@option("--audience", gettext("Also show this saved audience's week."), metavar="NAME")
@WHERE
def now(call: Call, **scope: Any) -> Digest:
    """Queue the digest of the past week."""
    return scoped_request(call, Digest, **scope)


@DIGEST.command(
    "schedule",
    role="analyst",
    help=gettext(
        "Post the digest in this channel each week, by itself; a new time replaces the one before."
    ),
)
@option("--day", gettext("On which day of the week."), _Day(("daily", *WEEKDAYS)), default="monday")
@option("--at", gettext("At what time, there."), _TimeOfDay(), "HH:MM", default="09:00")
@option("--timezone", gettext("Where; by default the shop's own time zone."), Zone(), "ZONE")
@option(
    "--channel", gettext("The id of the channel it goes to."), metavar="CHANNEL", cls=TerminalOption
)
def add_schedule(
    call: Call, day: str, at: str, timezone: str | None, channel: str | None = None
) -> Answer:
    """Schedule the digest for a channel. Replaces the channel's schedule."""
    target = channel or call.channel
    if not target:
        raise BadInput(
            gettext("--channel is missing; give the id of the channel that the digest goes to.")
        )
    if not outbox.is_slack_id(target):
        text = gettext(
            "--channel is {channel!r}, which is no channel's id; give one like C0123ABCD (in "
            "Slack a click on the channel's name shows it, below everything else)."
        )
        raise BadInput(text.format(channel=target))
    zone = timezone or call.settings.timezone
    chosen: dict[str, Any] = {"day": day, "at": at, "timezone": zone}
    replaced: list[dict[str, Any]] = []
    with call.database.transaction() as session:
        if call.first_time(session):
            replaced = replace_schedule(session, channel=target, user=call.user, **chosen)
    # The same time again replaces nothing that a person could notice.
    replaced = [one for one in replaced if not chosen.items() <= one.items()]
    is_stranger = call.channel is not None and not call.services.channels.can_post(call.channel)
    data = {**chosen, "channel": target, "stranger": is_stranger, "replaced": replaced}
    return Answer("bot/digest_scheduled", data)


def replace_schedule(
    session: Transaction,
    *,
    channel: str,
    day: str,
    at: str,
    timezone: str,
    user: str,
    args: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Schedule a channel's digest instead of those before.

    `at`: local time ``HH:MM``.
    """
    before = _digests(session.settings).where(Schedule.active, Schedule.channel == channel)
    if args is None:
        newest = session.scalars(before.order_by(Schedule.id.desc())).first()
        args = newest.args if newest else {}
    replaced = _stop(session, before)
    cadence = Cadence(at, WEEKDAYS.index(day) if day in WEEKDAYS else None)
    tick.add(session, Digest(**args), cadence, timezone, channel=channel, by=user)
    return replaced


@DIGEST.command("list", role="viewer", help=gettext("When and where digests are posted."))
def listing(call: Call) -> Answer:
    """List the schedules."""
    with call.database.reading() as session:
        active = _digests(call.settings).where(Schedule.active)
        schedules = session.scalars(active.order_by(Schedule.id)).all()
    return Answer("bot/digests", {"schedules": [_described(row) for row in schedules]})


@DIGEST.command(
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
    with call.database.transaction() as session:
        query = _digests(call.settings).where(Schedule.active)
        if not call.first_time(session):  # a repeat gets the last stopped schedule as its answer
            query = _digests(call.settings).where(~Schedule.active)
            query = query.order_by(Schedule.id.desc()).limit(1)
        stopped = _stop(session, query.where(condition))
        if not stopped:
            message = gettext(
                "There is no scheduled digest with the number {number}; "
                "see `/retention digest list`."
            )
            if number is None:
                message = gettext(
                    "There is no scheduled digest for this channel; see `/retention digest list`."
                )
            raise BadInput(message.format(number=number))
    return Answer("bot/digest_off", {"schedules": stopped})


def _digests(settings: Settings) -> Select[Schedule]:
    return select(Schedule).where(Schedule.team_id == settings.team_id, Schedule.kind == "digest")


def _stop(session: Transaction, query: Select[Schedule]) -> list[dict[str, Any]]:
    schedules = session.scalars(query).all()
    for row in schedules:
        row.active = False
    return [_described(row) for row in schedules]


def _described(row: Schedule) -> dict[str, Any]:
    day = "daily" if row.weekday is None else WEEKDAYS[row.weekday]
    fields = fields_of(row, "at", "timezone", "channel", "created_by")
    return {"number": row.id, "day": day, **fields}


REPORT = group("report", default="recommend")


def _write_html(call: Call, data: dict[str, Any], html: Path | None = None, **_: Any) -> None:
    from retention.reports.recommendations import Performance

    if html is not None:
        html.write_text(Performance(data).html(call.settings), encoding="utf-8")


@REPORT.command(
    "recommend",
    request=RecommendReport,
    after=_write_html,
    help=gettext(
        "How recommendations do: by place on the list, by reason, by model and over time."
    ),
)
@option("--days", gettext("What was shown within so long."), DAYS, default="84d")
@AS_OF
@html_option(gettext("Also write the report to this file, as a page."))
def recommend(call: Call, html: Path | None = None, **fields: Any) -> RecommendReport:
    """Queue the report."""
    return request(RecommendReport, **fields)


@REPORT.command(
    "programme",
    request=ProgrammeReport,
    help=gettext(
        "What all campaigns together earn, month by month, against customers whom none contacts."
    ),
)
def programme(call: Call) -> ProgrammeReport:
    """Queue the programme's report."""
    return request(ProgrammeReport)


@REPORT.command(
    "promises",
    request=PromisesReport,
    help=gettext("Forecasts of all campaigns against their results: how often the range held."),
)
def promises(call: Call) -> PromisesReport:
    """Queue the report."""
    return request(PromisesReport)


@command("calendar", role="viewer")
@option("--weeks", gettext("How many weeks."), integer(1, MAX_WEEKS), "N", default=6)
@option("--country", gettext("Whose public holidays, such as DE; by default the shop's."))
def calendar(call: Call, weeks: int, country: str | None) -> Answer:
    """Show the campaigns and public holidays of the coming weeks."""
    with call.database.reading() as session:
        coming = coming_weeks(session, clock.now(), weeks, country and country.upper())
    return Answer("campaign/calendar", coming.as_dict())
