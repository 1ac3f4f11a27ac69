"""Handle the window that sets a channel's digest."""

from typing import Any, get_args

from slack_bolt import Ack, App
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import schedule_choices
from bot.answers import show_answer
from bot.commands.digest import DAYS, replace_schedule
from bot.interactions import Click
from bot.services import Services
from retention.clock import time_zones
from retention.db.tables import Audience, Schedule
from retention.errors import BadInput
from retention.settings import Settings
from retention.text import gettext
from workers import ids, roles
from workers.delivery import render
from workers.requests import DigestSection

SECTIONS: tuple[str, ...] = get_args(DigestSection)


def register(app: App, services: Services) -> None:
    """Listen to the button and the window.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """
    settings = services.settings

    @app.action(ids.DIGEST_SETTINGS)
    def opened(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        channel = click.channel or click.user
        with services.database.reading() as session:
            roles.require(session, settings, click.user, "analyst", _deed())
            schedule = _schedule(session, settings, channel)
            audiences = session.scalars(
                select(Audience.name)
                .where(Audience.team_id == settings.team_id)
                .order_by(Audience.name)
            ).all()
        day = "monday" if schedule is None else _day(schedule.weekday)
        view = render.view(
            "digest/settings",
            channel=channel,
            scheduled=schedule is not None,
            day=day,
            days=("daily", *DAYS),
            at=schedule.at if schedule else "09:00",
            timezone=schedule.timezone if schedule else settings.timezone,
            zones=schedule_choices.zones(settings.timezone),
            sections=schedule.args.get("sections", SECTIONS) if schedule else SECTIONS,
            all_sections=SECTIONS,
            audiences=audiences,
            audience=schedule.args.get("audience") if schedule else None,
        )
        services.client.views_open(trigger_id=click.trigger_id or "", view=view)

    @app.view(ids.DIGEST_VIEW)
    def saved(ack: Ack, body: dict[str, Any]) -> None:
        click = Click.of(body)
        values = {name: block["value"] for name, block in click.state.items()}
        day, at = values["day"]["selected_option"]["value"], values["at"]["selected_time"]
        chosen = [one["value"] for one in values["sections"].get("selected_options") or ()]
        audience = (values.get("audience", {}).get("selected_option") or {}).get("value")
        with services.database.transaction() as session:
            roles.require(session, settings, click.user, "analyst", _deed())
            before = _schedule(session, settings, click.value)
            chosen_zone = (values.get("zone", {}).get("selected_option") or {}).get("value")
            zone = chosen_zone or (before.timezone if before else settings.timezone)
            if zone not in time_zones():
                raise BadInput(
                    gettext("{value!r} is no time zone; choose one of the list.").format(
                        value=zone
                    ),
                    field="zone",
                )
            if click.first_time(session):
                replace_schedule(
                    session,
                    settings,
                    channel=click.value,
                    day=day,
                    at=at,
                    timezone=zone,
                    user=click.user,
                    args={"sections": chosen, "audience": audience},
                )
        ack()
        message = render.message(
            "bot/digest_scheduled",
            day=day,
            at=at,
            timezone=zone,
            channel=click.value,
            replaced=[],
            stranger=not services.channels.can_post(click.value),
        )
        show_answer(services, "", click.user, message)


def _schedule(session: Session, settings: Settings, channel: str) -> Schedule | None:
    return session.scalar(
        select(Schedule)
        .where(
            Schedule.team_id == settings.team_id,
            Schedule.kind == "digest",
            Schedule.active,
            Schedule.channel == channel,
        )
        .order_by(Schedule.id.desc())
        .limit(1)
    )


def _deed() -> str:
    return gettext("set the digest")


def _day(weekday: int | None) -> str:
    return "daily" if weekday is None else DAYS[weekday]
