"""Show the window in which people choose a command instead of typing it.

`/retention` alone opens it, and so do buttons of help and App Home. Its command runs through
`bot.slack.slash.answer`, like a typed one.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select

from bot.commands.catalogue import entries
from bot.commands.form import MAX_OPTIONS, Form, form_of
from bot.commands.help import task_groups
from bot.commands.tree import SLACK, root
from bot.services import Services
from bot.slack import schedule_choices
from bot.slack.interactions import show_to
from bot.slack.schedule_choices import Group
from retention.db import Transaction
from retention.db.tables import Audience, Campaign, ModelVersion, Schedule, Source
from retention.settings import Settings
from retention.templating import shorten
from workers import action_ids, user_roles
from workers.delivery import render
from workers.delivery.block_limits import OPTION
from workers.job_requests import title_of
from workers.queue import jobs

MAX_SUGGESTIONS = 25
_STATE_KEYS = (
    "selected_option",
    "selected_options",
    "selected_date",
    "selected_time",
    "selected_user",
    "selected_conversation",
    "value",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the window was opened: its channel, and the address for private answers."""

    channel: str = ""
    response_url: str = ""
    group: str = ""  # a group of tasks, or empty for all

    @classmethod
    def of(cls, metadata: str) -> "Place":
        """Read the window's private metadata."""
        return cls(**json.loads(metadata))


def view(
    services: Services, user: str, place: Place, state: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Render the window for a person.

    Returns: a view for ``views.open`` and ``views.update``.
    """
    with services.database.reading() as session:
        role = user_roles.role_of(session, user)
        available = entries(root(), where=SLACK, role=role)
        form = filled_form(state or {}, available)
        suggestions = _suggestions_for(session, form) if form else {}
        grouped = _grouped_suggestions(services.settings, form) if form else {}
    groups = task_groups(available)
    shown = [group for group in groups if group["name"] == place.group] or groups
    return render.view(
        "bot/builder",
        groups=shown,
        form=form,
        suggestions=suggestions,
        grouped=grouped,
        metadata=json.dumps(asdict(place)),
    )


def filled_form(state: dict[str, Any], available: list[Any]) -> Form | None:
    """Return the chosen command's form with its values."""
    chosen = _value(state.get("task", {}).get(action_ids.BUILDER_TASK, {}))
    entry = next((one for one in available if one.name == chosen), None)
    if entry is None:
        return None
    start = f"{entry.name}:"
    values = {
        block_id.removeprefix(start): value
        for block_id, block in state.items()
        if block_id.startswith(start) and (value := _value(block.get(action_ids.BUILDER_FIELD, {})))
    }
    return form_of(entry, values)


def started(command: str, values: dict[str, str]) -> dict[str, Any]:
    """Return the inputs of a window that starts with a command and some of its fields."""
    fields = {
        f"{command}:{name}": {action_ids.BUILDER_FIELD: {"value": value}}
        for name, value in values.items()
    }
    return {"task": {action_ids.BUILDER_TASK: {"selected_option": {"value": command}}}, **fields}


def _value(element: dict[str, Any]) -> str:
    for key in _STATE_KEYS:
        value = element.get(key)
        if isinstance(value, dict):
            return str(value["value"])
        if isinstance(value, list):
            return str(value[0]["value"]) if value else ""
        if value:
            return str(value)
    return ""


def _suggestions_for(session: Transaction, form: Form) -> dict[str, list[dict[str, str]]]:
    found = {one.name: _suggestions(session, form.command, one.name) for one in form.fields}
    return {name: suggested for name, suggested in found.items() if suggested}


def _grouped_suggestions(settings: Settings, form: Form) -> dict[str, list[Group]]:
    """Return the lists of choices that are too long for one group, by field."""
    if form.command != "schedule add":
        return {}
    return {"every": schedule_choices.times(), "zone": schedule_choices.zones(settings.timezone)}


def _suggestions(session: Transaction, command: str, name: str) -> list[dict[str, str]]:
    """Return the newest campaigns, jobs or models for a field that names one."""
    team = session.settings.team_id

    def newest(table: Any) -> Any:
        of_team = select(table).where(table.team_id == team)
        return session.scalars(of_team.order_by(table.created_at.desc()).limit(MAX_SUGGESTIONS))

    def named(table: Any) -> list[tuple[str, str]]:
        names = session.scalars(
            select(table.name).where(table.team_id == team).order_by(table.name)
        )
        return [(each, each) for each in names]

    choices: list[tuple[str, str]] = []
    if name == "campaign":
        choices = [(row.id, f"{row.name} ({row.state})") for row in newest(Campaign)]
    elif name == "job":
        recent = jobs.recent(session, MAX_SUGGESTIONS)
        choices = [(job.id, f"{title_of(job.kind)} {job.id} ({job.state})") for job in recent]
    elif name == "audience" or (name == "name" and command in ("audience show", "audience delete")):
        choices = named(Audience)
    elif name == "name" and command.startswith("source"):
        choices = named(Source)
    elif command == "schedule add" and name == "command":
        choices = schedule_choices.commands(session)
    elif name == "number" and command.startswith("schedule"):
        schedules = select(Schedule).where(Schedule.team_id == team, Schedule.active)
        rows = session.scalars(schedules.order_by(Schedule.id))
        choices = [(str(row.id), f"{row.id}: {row.command or row.kind}") for row in rows]
    elif name in ("version", "other") and command.startswith("models"):
        choices = [(row.version, f"{row.version} ({row.state})") for row in newest(ModelVersion)]
    return [
        {"value": value, "title": shorten(title, OPTION)} for value, title in choices[:MAX_OPTIONS]
    ]


def show_answer(
    services: Services, response_url: str, user: str, message: render.Message, typed: str = ""
) -> None:
    """Show an answer only to one person, with the command that was typed.

    A job's result comes by its own message.
    """
    blocks = list(message.blocks)
    if typed:
        command = {"type": "mrkdwn", "text": f"`/retention {render.escape(typed)}`"}
        blocks.append({"type": "context", "elements": [command]})
    show_to(services, user, render.Message(message.text, blocks), response_url)
