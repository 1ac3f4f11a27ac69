"""Handle the windows that set a channel's digest and the policy."""

from typing import get_args

from slack_bolt import Ack, App
from sqlalchemy import select

from bot.commands.policy import DEED, parsed_values, policy_data
from bot.commands.reports import WEEKDAYS, replace_schedule
from bot.services import Services
from bot.slack import schedule_choices
from bot.slack.builder import show_answer
from bot.slack.interactions import Click, Handler, listen, once, show_modal
from retention.clock import time_zones
from retention.db import Transaction
from retention.db.tables import Audience, Schedule
from retention.errors import BadInput
from retention.risk import policy_edits
from retention.text import gettext, in_language
from workers import action_ids, user_roles
from workers.delivery import render
from workers.job_requests import DigestSection

SECTIONS: tuple[str, ...] = get_args(DigestSection)


def register(app: App, services: Services) -> None:
    """Listen to the buttons and the windows."""
    clicks: dict[str, Handler] = {
        action_ids.DIGEST_SETTINGS: _open,
        action_ids.CHANGE_POLICY: _open_policy,
    }
    windows = {action_ids.DIGEST_VIEW: _save, action_ids.POLICY_VIEW: _save_policy}
    listen(app, services, clicks, windows)


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


def _open_policy(services: Services, click: Click) -> None:
    with services.database.reading() as session:
        user_roles.require(session, click.user, "admin", in_language(DEED))
        shown = policy_data(session, click.user)
    show_modal(services, click, render.view("bot/policy_edit", **shown))


def _save_policy(services: Services, click: Click, ack: Ack) -> None:
    """Store the changed settings; the private metadata is the version that the person saw."""
    typed = {place: click.answer(place) for place in click.state}
    with once(services, click, "admin", in_language(DEED)) as session:
        values = parsed_values(policy_edits.file_policy(session), typed, in_percent=True)
        policy_edits.change_policy(session, values, click.user, int(click.value))
    ack()
    with services.database.reading() as session:
        shown = policy_data(session, click.user)
    zone = services.settings.timezone
    show_answer(services, "", click.user, render.message("bot/policy", zone=zone, **shown))
