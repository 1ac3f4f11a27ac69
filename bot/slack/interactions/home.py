"""Show the App Home tab, a personal desk, and handle the buttons of it and of digests.

Each part of the desk is a function that returns rows. `section` adds one, so a feature brings its
own part::

    @section("Your audiences")
    def audiences(desk: Desk) -> list[Row]:
        return [Row("*lapsing-berlin*: 41 customers", (Button("Open", ids.HOME_RUN, "audience"),))]

A part without rows is not shown.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slack_bolt import App
from sqlalchemy import select

from bot.commands.jobs import described
from bot.commands.tree import SLACK, Call
from bot.http.health import overview
from bot.services import Services
from bot.slack import slash
from bot.slack.builder import show_answer
from bot.slack.interactions import Click, Handler, listen, once, show_modal
from retention.alerts.store import summaries as alert_summaries
from retention.audiences.store import summaries
from retention.campaigns.lifecycle.states import StaleCampaign, Step
from retention.db import Transaction
from retention.db.tables import Campaign, CampaignEditor
from retention.outreach import calls
from retention.text import gettext, in_language
from workers import action_ids, user_roles
from workers.campaigns import call_messages, decisions, messages
from workers.delivery import render
from workers.queue import jobs
from workers.schedule.schedule_changes import summaries as schedule_summaries

NOT_IN_MODALS = {"table", "data_table", "data_visualization", "actions"}
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
    session: Transaction
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


def _row(kind: str, value: Any, text: str, action_id: str, target: str) -> Row:
    """Return a row with one button."""
    return Row(kind, value, (Button(text, action_id, target),))


Part = Callable[[Desk], list[Row]]
_PARTS: dict[str, Part] = {}


def section(title: str) -> Callable[[Part], Part]:
    """Return a decorator that adds a part to every desk, below those before it."""

    def register(part: Part) -> Part:
        _PARTS[title] = part
        return part

    return register


def register(app: App, services: Services) -> None:
    """Listen to the opened tab and the buttons."""
    clicks: dict[Any, Handler] = {
        re.compile(rf"^{re.escape(action_ids.HOME_RUN)}"): _run_at_home,
        re.compile(rf"^{re.escape(action_ids.RUN_COMMAND)}(\.\d+)?$"): _run,
        action_ids.OPEN_APPROVALS: _open_approvals,
        action_ids.OPEN_CAMPAIGN: _open_campaign,
        action_ids.DESK_APPROVE: _approve,
    }
    listen(app, services, clicks)

    @app.event("app_home_opened")
    def opened(event: dict[str, Any]) -> None:
        if event.get("tab", "home") == "home":
            _publish(services, event["user"])


def _run_at_home(services: Services, click: Click) -> None:
    """Run a command; a new job shows in the direct message."""
    call = Call(services, click.user, SLACK, click.key, click.user)
    message = slash.answer(call, click.value)
    if isinstance(message, slash.OpenJobMessage):
        modal = render.view("bot/under_way_modal", job=message.job, own=message.own)
        services.client.views_open(trigger_id=click.trigger_id, view=modal)
    _publish(services, click.user)


def _publish(services: Services, user: str) -> None:
    services.client.views_publish(user_id=user, view=view(services, user))


def _run(services: Services, click: Click) -> None:
    call = Call(services, click.user, SLACK, click.key, click.place)
    message = slash.answer(call, click.value)
    show_answer(services, click.response_url or "", click.user, message)


def _open_approvals(services: Services, click: Click) -> None:
    show_modal(services, click, _approvals(services, click.user))


def _open_campaign(services: Services, click: Click) -> None:
    call = Call(services, click.user, SLACK, click.key, click.user)
    message = slash.answer(call, f"campaign show {click.value}")
    blocks = [block for block in message.blocks if block["type"] not in NOT_IN_MODALS]
    show_modal(services, click, {**render.view("bot/campaign_modal"), "blocks": blocks})


def _approve(services: Services, click: Click) -> None:
    campaign_id, _, version = click.value.partition(":")
    try:
        with once(services, click) as session:
            decisions.approve(session, Step(campaign_id, click.user, int(version)))
    except StaleCampaign as stale:
        with services.database.transaction() as session:
            messages.refresh_card(session, stale.campaign_id)
        raise
    finally:  # what still waits, in the window or on App Home
        if click.is_in_modal:
            shown = _approvals(services, click.user)
            services.client.views_update(view_id=click.view["id"], view=shown)
        else:
            _publish(services, click.user)


def _approvals(services: Services, user: str) -> dict[str, Any]:
    """Render the window with the campaigns that wait for a person."""
    with services.database.reading() as session:
        role = user_roles.role_of(session, user)
        listed = waiting_campaigns(Desk(services, session, user, role))
    return render.view(
        "bot/approvals",
        waiting=listed,
        allowed=user_roles.allows(role, "approver"),
        role=role,
        zone=services.settings.timezone,
    )


def view(services: Services, user: str) -> dict[str, Any]:
    """Render a person's Home tab.

    Returns: a view for ``views.publish``.
    """
    settings = services.settings
    with services.database.reading() as session:
        role = user_roles.role_of(session, user)
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
                if user_roles.allows(role, required_role)
            ],
            zone=settings.timezone,
            demo=settings.demo,
        )


@section(gettext("Waiting for you"))
def waiting(desk: Desk) -> list[Row]:
    """Return the campaigns that the person can approve."""
    question = gettext("It starts after the clearance time. Until then anyone can stop it.")

    def buttons(one: dict[str, Any]) -> tuple[Button, ...]:
        target = f"{one['id']}:{one['version']}"
        return (
            Button(gettext("Approve"), action_ids.DESK_APPROVE, target, "primary", question),
            Button(gettext("Open"), action_ids.OPEN_CAMPAIGN, one["id"]),
        )

    return [Row("campaign", one, buttons(one)) for one in waiting_campaigns(desk)]


@section(gettext("Calls without an owner"))
def unowned_calls(desk: Desk) -> list[Row]:
    """Return the live campaigns whose calls nobody makes; the campaign has the call list."""
    if not user_roles.allows(desk.role, "analyst"):
        return []
    counts = calls.unowned_by_campaign(desk.session)
    return [
        _row(
            "calls",
            {"name": name, "calls": number},
            gettext("Open"),
            action_ids.OPEN_CAMPAIGN,
            campaign,
        )
        for campaign, name, number in counts[:MAX_LISTED]
    ]


@section(gettext("My calls"))
def my_calls(desk: Desk) -> list[Row]:
    """Return the calls that the person has to make, the first due first."""
    if not user_roles.allows(desk.role, "analyst"):
        return []
    listed = call_messages.open_calls(desk.session, desk.user)
    text = gettext("Record the call")
    rows = [
        _row("call", one, text, action_ids.OPEN_CALL, f"{one['campaign_id']}|{one['pseudonym']}")
        for one in listed[:MAX_LISTED]
    ]
    if (more := len(listed) - MAX_LISTED) > 0:
        text = gettext("See all my calls")
        rows.append(_row("more_calls", more, text, action_ids.HOME_RUN, "campaign my-calls"))
    return rows


@section(gettext("Running now"))
def running(desk: Desk) -> list[Row]:
    """Return open jobs; the person can cancel their own, an admin all."""
    is_admin = user_roles.allows(desk.role, "admin")
    return [
        _row("job", described(job), gettext("Cancel"), action_ids.CANCEL_JOB, job.id)
        if is_admin or job.requested_by == desk.user
        else Row("job", described(job))
        for job in jobs.open_jobs(desk.session)[:MAX_RUNNING]
    ]


@section(gettext("Data and models"))
def health(desk: Desk) -> list[Row]:
    """Return problems with their remedies, or that there are none."""
    state = overview(desk.session, desk.services.database)
    is_analyst = user_roles.allows(desk.role, "analyst")
    buttons = {
        "no_model": (Button(gettext("Train a model"), action_ids.HOME_RUN, "retrain"),),
        "model_decayed": (Button(gettext("Retrain"), action_ids.HOME_RUN, "retrain"),),
        "data_old": (Button(gettext("Check the data"), action_ids.HOME_RUN, "data"),),
        "queue_slow": (Button(gettext("See the jobs"), action_ids.RUN_COMMAND, "jobs"),),
    }
    shown = buttons if is_analyst else {}
    rows = [Row("problem", one, shown.get(one["code"], ())) for one in state["problems"]]
    return [*rows, Row("health", state)]


@section(gettext("Audiences"))
def audiences(desk: Desk) -> list[Row]:
    """Return the saved audiences; a button lists their customers at risk."""
    if not user_roles.allows(desk.role, "analyst"):
        return []
    text = gettext("Who is at risk")
    return [
        Row("audience", one)
        if one["exclude"]
        else _row("audience", one, text, action_ids.HOME_RUN, f"sweep --audience {one['name']}")
        for one in summaries(desk.session)[:MAX_LISTED]
    ]


@section(gettext("Alerts"))
def alerts(desk: Desk) -> list[Row]:
    """Return the alerts; analysts switch them on and off."""

    def row(alert: dict[str, Any]) -> Row:
        is_on = alert["status"] == "on"
        text = gettext("Mute") if is_on else gettext("Switch on")
        command = f"alert {'mute' if is_on else 'unmute'} {alert['name']}"
        return _row("alert", alert, text, action_ids.HOME_RUN, command)

    is_analyst = user_roles.allows(desk.role, "analyst")
    listed = alert_summaries(desk.session)[:MAX_LISTED]
    return [row(one) if is_analyst else Row("alert", one) for one in listed]


@section(gettext("Schedules"))
def schedules(desk: Desk) -> list[Row]:
    """Return the schedules with their next runs; analysts run and pause them."""

    def buttons(schedule: dict[str, Any]) -> tuple[Button, ...]:
        deed = "resume" if schedule["paused"] else "pause"
        text = gettext("Resume") if schedule["paused"] else gettext("Pause")
        number = schedule["number"]
        return (
            Button(gettext("Run now"), f"{action_ids.HOME_RUN}.run", f"schedule run {number}"),
            Button(text, f"{action_ids.HOME_RUN}.pause", f"schedule {deed} {number}"),
        )

    is_analyst = user_roles.allows(desk.role, "analyst")
    return [
        Row("schedule", one, buttons(one) if is_analyst else ())
        for one in schedule_summaries(desk.session)[:MAX_LISTED]
    ]


def waiting_campaigns(desk: Desk) -> list[dict[str, Any]]:
    """Return submitted campaigns the person may decide.

    These are campaigns that the person neither edited nor approved.
    """
    if not user_roles.allows(desk.role, "approver"):
        return []
    edited = select(CampaignEditor.campaign_id).where(CampaignEditor.user_id == desk.user)
    team = Campaign.team_id == desk.session.settings.team_id
    query = select(Campaign).where(team, Campaign.state == "submitted", Campaign.id.not_in(edited))
    campaigns = desk.session.scalars(query.order_by(Campaign.submitted_at).limit(MAX_WAITING)).all()
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
