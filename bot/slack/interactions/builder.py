"""Handle the window in which people choose a command."""

import logging
import re
from typing import Any

from slack_bolt import Ack, App

from bot.commands.catalogue import entries
from bot.commands.tasks import title_of_command
from bot.commands.tree import SLACK, Call, root
from bot.services import Services
from bot.slack import builder, slash
from bot.slack.builder import Place, show_answer
from bot.slack.interactions import Click, Handler, audiences, listen, refresh_window, show_modal
from retention.audiences import store
from retention.errors import BadInput
from retention.text import gettext, in_language
from workers import action_ids
from workers.delivery import render

log = logging.getLogger("retention.bot")
AUDIENCE_TASK = "audience save"  # has a window of its own, with pickers


def register(app: App, services: Services) -> None:
    """Listen to the window and the buttons that open it."""
    clicks: dict[Any, Handler] = {
        action_ids.OPEN_BUILDER: _open,
        re.compile(rf"^{re.escape(action_ids.BUILDER_START)}"): _start,
        action_ids.BUILDER_FIELD: _refresh,
    }
    listen(app, services, clicks, {action_ids.BUILDER_VIEW: _submit})

    @app.action(action_ids.BUILDER_TASK)
    def chosen(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        if click.value == AUDIENCE_TASK:
            audiences.show_in(services, body)
        else:
            _refresh(services, click)


def _open(services: Services, click: Click) -> None:
    place = Place(click.channel or "", click.response_url or "", click.value)
    view = builder.view(services, click.user, place)
    services.client.views_open(trigger_id=click.trigger_id, view=view)


def _start(services: Services, click: Click) -> None:
    state = _started(services, click.value)
    show_modal(
        services, click, builder.view(services, click.user, Place(click.channel or ""), state)
    )


def _submit(services: Services, click: Click, ack: Ack) -> None:
    place = Place.of(click.value)
    form = builder.filled_form(click.state, entries(root(), where=SLACK))
    if form is None:
        raise BadInput(gettext("Choose what you want to do first."))
    call = Call(services, click.user, SLACK, click.key, place.channel or click.user)
    # A refusal stays in the window, so that what was filled in is not lost.
    message = slash.answer(call, form.typed)
    if place.channel or place.response_url:
        ack()
    else:  # opened on App Home, where no answer can be seen
        title = in_language(title_of_command(form.command, form.help))
        ack(response_action="update", view=render.view("bot/answered_modal", title=title))
    show_answer(services, place.response_url, click.user, message, form.typed)


def _started(services: Services, value: str) -> dict[str, Any]:
    """Return the filled form of a button about an audience."""
    kind, _, name = value.partition("|")
    with services.database.reading() as session:
        audience = store.find(session, name)
        name, expression = audience.name, audience.expression
    if kind == "alert":
        return builder.started("alert add", {"name": name, "condition": expression})
    return builder.started(
        "schedule add", {"command": f"sweep --audience {name}", "every": "mon 09:00"}
    )


def _refresh(services: Services, click: Click) -> None:
    """Show the fields of the chosen command and its typed form; Run checks everything."""
    place = Place.of(click.view["private_metadata"])
    try:
        new = builder.view(services, click.user, place, click.state)
    except BadInput as error:  # such as unfinished quotes
        log.info("a window was not refreshed: %s", error)
        return
    refresh_window(services, click.view, new)
