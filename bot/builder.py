"""Show the window in which people choose a command instead of typing it.

`/retention` alone opens it, and so do buttons of help and App Home. Its command runs through
`bot.slash.answer`, like a typed one.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot import schedule_choices
from bot.commands import SLACK, root
from bot.commands.catalogue import entries
from bot.commands.form import MAX_OPTIONS, Form, form_of
from bot.commands.help import task_groups
from bot.schedule_choices import Group
from bot.services import Services
from retention.db.tables import Audience, Campaign, ModelVersion, Schedule, Source
from retention.settings import Settings
from retention.templating import shorten
from workers import ids, jobs, roles
from workers.delivery import render
from workers.delivery.limits import OPTION
from workers.requests import title_of

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

    Parameters
    ----------
    services : Services
        The installation's services.
    user : str
        Slack user id. Only commands of their role are offered.
    place : Place
        Where the window was opened.
    state : dict, optional
        The window's inputs so far.

    Returns
    -------
    dict
        A view for ``views.open`` and ``views.update``.
    """
    with services.database.reading() as session:
        role = roles.role_of(session, services.settings, user)
        available = entries(root(), where=SLACK, role=role)
        form = filled_form(state or {}, available)
        suggestions = _suggestions_for(session, services.settings, form) if form else {}
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
    """Return the chosen command's form with its values.

    Parameters
    ----------
    state : dict
        ``view.state.values``.
    available : list of Entry
        The commands that the person may use.

    Returns
    -------
    Form or None
        None before a command is chosen.
    """
    chosen = _value(state.get("task", {}).get(ids.BUILDER_TASK, {}))
    entry = next((one for one in available if one.name == chosen), None)
    if entry is None:
        return None
    start = f"{entry.name}:"
    values = {
        block_id.removeprefix(start): value
        for block_id, block in state.items()
        if block_id.startswith(start) and (value := _value(block.get(ids.BUILDER_FIELD, {})))
    }
    return form_of(entry, values)


def started(command: str, values: dict[str, str]) -> dict[str, Any]:
    """Return the inputs of a window that starts with a command and some of its fields."""
    fields = {
        f"{command}:{name}": {ids.BUILDER_FIELD: {"value": value}} for name, value in values.items()
    }
    return {"task": {ids.BUILDER_TASK: {"selected_option": {"value": command}}}, **fields}


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


def _suggestions_for(
    session: Session, settings: Settings, form: Form
) -> dict[str, list[dict[str, str]]]:
    found = {
        one.name: _suggestions(session, settings, form.command, one.name) for one in form.fields
    }
    return {name: suggested for name, suggested in found.items() if suggested}


def _grouped_suggestions(settings: Settings, form: Form) -> dict[str, list[Group]]:
    """Return the lists of choices that are too long for one group, by field."""
    if form.command != "schedule add":
        return {}
    return {"every": schedule_choices.times(), "zone": schedule_choices.zones(settings.timezone)}


def _suggestions(
    session: Session, settings: Settings, command: str, name: str
) -> list[dict[str, str]]:
    """Return the newest campaigns, jobs or models for a field that names one."""
    team = settings.team_id
    if name == "campaign":
        campaigns = session.scalars(
            select(Campaign)
            .where(Campaign.team_id == team)
            .order_by(Campaign.created_at.desc())
            .limit(MAX_SUGGESTIONS)
        )
        return [_suggestion(row.id, f"{row.name} ({row.state})") for row in campaigns]
    if name == "job":
        recent = jobs.recent(session, settings, MAX_SUGGESTIONS)
        return [
            _suggestion(job.id, f"{title_of(job.kind)} {job.id} ({job.state})") for job in recent
        ]
    if name == "audience" or (name == "name" and command in ("audience show", "audience delete")):
        audiences = session.scalars(
            select(Audience.name).where(Audience.team_id == team).order_by(Audience.name)
        )
        return [_suggestion(audience, audience) for audience in audiences.all()[:MAX_OPTIONS]]
    if name == "name" and command.startswith("source"):
        names = session.scalars(
            select(Source.name).where(Source.team_id == team).order_by(Source.name)
        )
        return [_suggestion(source, source) for source in names.all()[:MAX_OPTIONS]]
    if command == "schedule add" and name == "command":
        choices = schedule_choices.commands(session, settings)
        return [_suggestion(value, title) for value, title in choices[:MAX_OPTIONS]]
    if name == "number" and command.startswith("schedule"):
        schedules = session.scalars(
            select(Schedule).where(Schedule.team_id == team, Schedule.active).order_by(Schedule.id)
        )
        return [
            _suggestion(str(row.id), f"{row.id}: {row.command or row.kind}")
            for row in schedules.all()[:MAX_OPTIONS]
        ]
    if name in ("version", "other") and command.startswith("models"):
        models = session.scalars(
            select(ModelVersion)
            .where(ModelVersion.team_id == team)
            .order_by(ModelVersion.created_at.desc())
            .limit(MAX_SUGGESTIONS)
        )
        return [_suggestion(row.version, f"{row.version} ({row.state})") for row in models]
    return []


def _suggestion(value: str, title: str) -> dict[str, str]:
    return {"value": value, "title": shorten(title, OPTION)}
