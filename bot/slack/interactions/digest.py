"""Handle the window that sets a channel's digest."""

from typing import get_args

from slack_bolt import Ack, App
from sqlalchemy import select

from bot.commands.reports import WEEKDAYS, replace_schedule
from bot.services import Services
from bot.slack import schedule_choices
from bot.slack.builder import show_answer
from bot.slack.interactions import Click, listen, once, show_modal
from retention.clock import time_zones
from retention.db import Transaction
from retention.db.tables import Audience, Schedule
from retention.errors import BadInput
from retention.text import gettext
from workers import action_ids, user_roles
from workers.delivery import render
from workers.job_requests import DigestSection

SECTIONS: tuple[str, ...] = get_args(DigestSection)


def register(app: App, services: Services) -> None:
    """Listen to the button and the window."""
    listen(app, services, {action_ids.DIGEST_SETTINGS: _open}, {action_ids.DIGEST_VIEW: _save})


def _open(services: Services, click: Click) -> None:
    settings = services.settings
    with services.database.reading() as session:
        user_roles.require(session, click.user, "analyst", gettext("set the digest"))
        schedule = _schedule(session, click.place)
        audiences = session.scalars(
            select(Audience.name)
            .where(Audience.team_id == settings.team_id)
            .order_by(Audience.name)
        ).all()
    view = render.view(
        "digest/settings",
        channel=click.place,
        scheduled=schedule is not None,
        day=_day(schedule.weekday) if schedule else "monday",
        days=("daily", *WEEKDAYS),
        at=schedule.at if schedule else "09:00",
        timezone=schedule.timezone if schedule else settings.timezone,
        zones=schedule_choices.zones(settings.timezone),
        sections=schedule.args.get("sections", SECTIONS) if schedule else SECTIONS,
        all_sections=SECTIONS,
        audiences=audiences,
        audience=schedule.args.get("audience") if schedule else None,
    )
    show_modal(services, click, view)


def _save(services: Services, click: Click, ack: Ack) -> None:
    day, at = str(click.option("day")), str(click.input("at")["selected_time"])
    zone, audience = click.option("zone"), click.option("audience")
    chosen = [one["value"] for one in click.input("sections").get("selected_options") or ()]
    with once(services, click, "analyst", gettext("set the digest")) as session:
        before = _schedule(session, click.value)
        zone = zone or (before.timezone if before else services.settings.timezone)
        if zone not in time_zones():
            text = gettext("{value!r} is no time zone; choose one of the list.")
            raise BadInput(text.format(value=zone), field="zone")
        shown = {"day": day, "at": at, "timezone": zone, "channel": click.value}
        args = {"sections": chosen, "audience": audience}
        replace_schedule(session, **shown, user=click.user, args=args)
    ack()
    stranger = not services.channels.can_post(click.value)
    message = render.message("bot/digest_scheduled", **shown, replaced=[], stranger=stranger)
    show_answer(services, "", click.user, message)


def _schedule(session: Transaction, channel: str) -> Schedule | None:
    return session.scalar(
        select(Schedule)
        .where(
            Schedule.team_id == session.settings.team_id,
            Schedule.kind == "digest",
            Schedule.active,
            Schedule.channel == channel,
        )
        .order_by(Schedule.id.desc())
        .limit(1)
    )


def _day(weekday: int | None) -> str:
    return "daily" if weekday is None else WEEKDAYS[weekday]
