"""Show the App Home tab: a personal desk.

Each part of the desk is a function that returns rows. `section` adds one, so a feature brings its
own part::

    @section("Your audiences")
    def audiences(desk: Desk) -> list[Row]:
        return [Row("*lapsing-berlin*: 41 customers", (Button("Open", ids.HOME_RUN, "audience"),))]

A part without rows is not shown.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slack_bolt import Ack, App
from slack_sdk import WebClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import slash
from bot.commands import SLACK, Call
from bot.commands.jobs import described
from bot.health import overview
from bot.interactions import Click
from bot.services import Services
from retention.db.tables import Campaign, CampaignEditor
from retention.text import gettext, in_language
from workers import call_lists, ids, jobs, roles
from workers.delivery import render

MAX_WAITING, MAX_RUNNING, MAX_LISTED = 10, 5, 5
# The first buttons of the desk: command, text and role.
QUICK_ACTIONS = (
    ("sweep", gettext("List customers at risk"), "analyst"),
    ("campaign draft", gettext("Draft a campaign"), "analyst"),
    ("digest", gettext("This week's digest"), "viewer"),
)


@dataclass(frozen=True, slots=True)
class Desk:
    """What a part of the desk may use: the person, their role and a reading transaction."""

    services: Services
    session: Session
    user: str
    role: str


@dataclass(frozen=True, slots=True)
class Button:
    """A button of a row. With ``confirm``, Slack asks this question first."""

    text: str
    action_id: str
    value: str
    style: str = ""
    confirm: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the desk: its kind in `templates/slack/home/home.yaml.j2`, value and buttons.

    ``kind`` "text" shows ``value`` as it is.
    """

    kind: str
    value: Any
    buttons: tuple[Button, ...] = ()


Part = Callable[[Desk], list[Row]]
_PARTS: dict[str, Part] = {}


def section(title: str) -> Callable[[Part], Part]:
    """Return a decorator that adds a part to every desk, below those before it.

    Parameters
    ----------
    title : str
        The part's heading.
    """

    def register(part: Part) -> Part:
        _PARTS[title] = part
        return part

    return register


def register(app: App, services: Services) -> None:
    """Listen to the opened tab and its buttons.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.event("app_home_opened")
    def opened(event: dict[str, Any], client: WebClient) -> None:
        if event.get("tab", "home") == "home":
            client.views_publish(user_id=event["user"], view=view(services, event["user"]))

    @app.action(re.compile(rf"^{re.escape(ids.HOME_RUN)}"))
    def run(ack: Ack, body: dict[str, Any], client: WebClient) -> None:
        started = time.monotonic()
        ack()
        click = Click.of(body)
        call = Call(services, click.user, SLACK, click.key, click.user)
        # A new job shows in the direct message.
        message = slash.answer(services, click.value, call, started)
        if isinstance(message, slash.OpenJobMessage):
            modal = render.view("bot/under_way_modal", job=message.job, own=message.own)
            client.views_open(trigger_id=click.trigger_id or "", view=modal)
        client.views_publish(user_id=click.user, view=view(services, click.user))


def view(services: Services, user: str) -> dict[str, Any]:
    """Render a person's Home tab.

    Parameters
    ----------
    services : Services
        The installation's services.
    user : str
        Slack user id.

    Returns
    -------
    dict
        A view for ``views.publish``.
    """
    settings = services.settings
    with services.database.reading() as session:
        role = roles.role_of(session, settings, user)
        desk = Desk(services, session, user, role)
        parts = [
            {"title": in_language(title), "rows": part(desk)} for title, part in _PARTS.items()
        ]
        return render.view(
            "home/home",
            role=role,
            waiting=len(waiting_campaigns(desk)),
            calls=sum(row.value["calls"] for row in unowned_calls(desk)),
            parts=[part for part in parts if part["rows"]],
            quick=[
                {"text": in_language(text), "command": command}
                for command, text, required_role in QUICK_ACTIONS
                if roles.allows(role, required_role)
            ],
            zone=settings.timezone,
            demo=settings.demo,
        )


@section(gettext("Waiting for you"))
def waiting(desk: Desk) -> list[Row]:
    """Return the campaigns that the person can approve."""
    question = gettext("It starts after the clearance time. Until then anyone can stop it.")
    return [
        Row(
            "campaign",
            one,
            (
                Button(
                    gettext("Approve"),
                    ids.DESK_APPROVE,
                    f"{one['id']}:{one['version']}",
                    "primary",
                    question,
                ),
                Button(gettext("Open"), ids.OPEN_CAMPAIGN, one["id"]),
            ),
        )
        for one in waiting_campaigns(desk)
    ]


@section(gettext("Calls without an owner"))
def unowned_calls(desk: Desk) -> list[Row]:
    """Return the live campaigns whose calls nobody makes; the campaign has the call list."""
    from retention.outreach import calls

    if not roles.allows(desk.role, "analyst"):
        return []
    counts = calls.unowned_by_campaign(desk.session, desk.services.settings)
    return [
        Row(
            "calls",
            {"name": name, "calls": number},
            (Button(gettext("Open"), ids.OPEN_CAMPAIGN, campaign_id),),
        )
        for campaign_id, name, number in counts[:MAX_LISTED]
    ]


@section(gettext("My calls"))
def my_calls(desk: Desk) -> list[Row]:
    """Return the calls that the person has to make, the first due first."""
    if not roles.allows(desk.role, "analyst"):
        return []
    listed = call_lists.open_calls(desk.session, desk.services.settings, desk.user)
    rows = [
        Row(
            "call",
            one,
            (
                Button(
                    gettext("Record the call"),
                    ids.OPEN_CALL,
                    f"{one['campaign_id']}|{one['pseudonym']}",
                ),
            ),
        )
        for one in listed[:MAX_LISTED]
    ]
    if len(listed) > MAX_LISTED:
        all_calls = Button(gettext("See all my calls"), ids.HOME_RUN, "campaign my-calls")
        rows.append(Row("more_calls", len(listed) - MAX_LISTED, (all_calls,)))
    return rows


@section(gettext("Running now"))
def running(desk: Desk) -> list[Row]:
    """Return open jobs; the person can cancel their own, an admin all."""
    settings = desk.services.settings
    is_admin = roles.allows(desk.role, "admin")
    return [
        Row(
            "job",
            described(job),
            (Button(gettext("Cancel"), ids.CANCEL_JOB, job.id),)
            if is_admin or job.requested_by == desk.user
            else (),
        )
        for job in jobs.open_jobs(desk.session, settings)[:MAX_RUNNING]
    ]


@section(gettext("Data and models"))
def health(desk: Desk) -> list[Row]:
    """Return problems with their remedies, or that there are none."""
    state = overview(desk.session, desk.services.settings, desk.services.database)
    is_analyst = roles.allows(desk.role, "analyst")
    buttons = {
        "no_model": Button(gettext("Train a model"), ids.HOME_RUN, "retrain"),
        "model_decayed": Button(gettext("Retrain"), ids.HOME_RUN, "retrain"),
        "data_old": Button(gettext("Check the data"), ids.HOME_RUN, "data"),
        "queue_slow": Button(gettext("See the jobs"), ids.RUN_COMMAND, "jobs"),
    }
    rows = [
        Row(
            "problem", one, (buttons[one["code"]],) if is_analyst and one["code"] in buttons else ()
        )
        for one in state["problems"]
    ]
    return [*rows, Row("health", state)]


@section(gettext("Audiences"))
def audiences(desk: Desk) -> list[Row]:
    """Return the saved audiences; a button lists their customers at risk."""
    from retention.audiences.store import summaries

    if not roles.allows(desk.role, "analyst"):
        return []
    return [
        Row(
            "audience",
            one,
            ()
            if one["exclude"]
            else (
                Button(gettext("Who is at risk"), ids.HOME_RUN, f"sweep --audience {one['name']}"),
            ),
        )
        for one in summaries(desk.session, desk.services.settings)[:MAX_LISTED]
    ]


@section(gettext("Alerts"))
def alerts(desk: Desk) -> list[Row]:
    """Return the alerts; analysts switch them on and off."""
    from retention.alerts.store import summaries

    def button(alert: dict[str, Any]) -> Button:
        if alert["status"] == "on":
            return Button(gettext("Mute"), ids.HOME_RUN, f"alert mute {alert['name']}")
        return Button(gettext("Switch on"), ids.HOME_RUN, f"alert unmute {alert['name']}")

    is_analyst = roles.allows(desk.role, "analyst")
    return [
        Row("alert", one, (button(one),) if is_analyst else ())
        for one in summaries(desk.session, desk.services.settings)[:MAX_LISTED]
    ]


@section(gettext("Schedules"))
def schedules(desk: Desk) -> list[Row]:
    """Return the schedules with their next runs; analysts run and pause them."""
    from workers.schedule_changes import summaries

    def buttons(schedule: dict[str, Any]) -> tuple[Button, ...]:
        deed = "resume" if schedule["paused"] else "pause"
        text = gettext("Resume") if schedule["paused"] else gettext("Pause")
        number = schedule["number"]
        return (
            Button(gettext("Run now"), f"{ids.HOME_RUN}.run", f"schedule run {number}"),
            Button(text, f"{ids.HOME_RUN}.pause", f"schedule {deed} {number}"),
        )

    is_analyst = roles.allows(desk.role, "analyst")
    return [
        Row("schedule", one, buttons(one) if is_analyst else ())
        for one in summaries(desk.session, desk.services.settings)[:MAX_LISTED]
    ]


def waiting_campaigns(desk: Desk) -> list[dict[str, Any]]:
    """Return submitted campaigns the person may decide.

    These are campaigns that the person neither edited nor approved.
    """
    if not roles.allows(desk.role, "approver"):
        return []
    edited = select(CampaignEditor.campaign_id).where(CampaignEditor.user_id == desk.user)
    campaigns = desk.session.scalars(
        select(Campaign)
        .where(
            Campaign.team_id == desk.services.settings.team_id,
            Campaign.state == "submitted",
            Campaign.id.not_in(edited),
        )
        .order_by(Campaign.submitted_at)
        .limit(MAX_WAITING)
    ).all()
    return [
        {
            "id": campaign.id,
            "version": campaign.version,
            "name": campaign.name,
            "by": campaign.submitted_by or campaign.drafted_by,
            "channel": campaign.channel or "",
            "expires_at": campaign.expires_at.isoformat() if campaign.expires_at else "",
        }
        for campaign in campaigns
        if desk.user not in campaign.approved_by
    ]
