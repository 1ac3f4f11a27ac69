"""Handle the window in which people choose a command."""

import logging
import re
import time
from typing import Any

from slack_bolt import Ack, App

from bot import builder, slash
from bot.answers import show_answer
from bot.builder import Place
from bot.commands import SLACK, Call, root
from bot.commands.catalogue import entries
from bot.commands.tasks import title_of_command
from bot.interactions import Click, audience_builder, refresh_window
from bot.services import Services
from retention.audiences import store
from retention.errors import BadInput
from retention.text import gettext, in_language
from workers import ids
from workers.delivery import render

log = logging.getLogger("retention.bot")
AUDIENCE_TASK = "audience save"  # has a window of its own, with pickers


def register(app: App, services: Services) -> None:
    """Listen to the window and the buttons that open it.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.action(ids.OPEN_BUILDER)
    def opened(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        place = Place(click.channel or "", click.response_url or "", click.value)
        services.client.views_open(
            trigger_id=click.trigger_id or "", view=builder.view(services, click.user, place)
        )

    @app.action(re.compile(rf"^{re.escape(ids.BUILDER_START)}"))
    def started(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        click = Click.of(body)
        state = _started(services, click.value)
        view = builder.view(services, click.user, Place(click.channel or ""), state)
        is_in_modal = (body.get("view") or {}).get("type") == "modal"
        show = services.client.views_push if is_in_modal else services.client.views_open
        show(trigger_id=click.trigger_id or "", view=view)

    @app.action(ids.BUILDER_TASK)
    def chosen(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        if Click.of(body).value == AUDIENCE_TASK:
            audience_builder.show_in(services, body)
        else:
            _refresh(services, body)

    @app.action(ids.BUILDER_FIELD)
    def filled(ack: Ack, body: dict[str, Any]) -> None:
        ack()
        _refresh(services, body)

    @app.view(ids.BUILDER_VIEW)
    def submitted(ack: Ack, body: dict[str, Any]) -> None:
        started = time.monotonic()
        click = Click.of(body)
        place = Place.of(click.value)
        form = builder.filled_form(click.state, entries(root(), where=SLACK))
        if form is None:
            raise BadInput(gettext("Choose what you want to do first."))
        call = Call(services, click.user, SLACK, click.key, place.channel or click.user)
        # A refusal stays in the window, so that what was filled in is not lost.
        message = slash.answer(services, form.typed, call, started)
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
        audience = store.find(session, services.settings, name)
        name, expression = audience.name, audience.expression
    if kind == "alert":
        return builder.started("alert add", {"name": name, "condition": expression})
    return builder.started(
        "schedule add", {"command": f"sweep --audience {name}", "every": "mon 09:00"}
    )


def _refresh(services: Services, body: dict[str, Any]) -> None:
    """Show the fields of the chosen command and its typed form; Run checks everything."""
    view, click = body["view"], Click.of(body)
    try:
        new = builder.view(services, click.user, Place.of(view["private_metadata"]), click.state)
    except BadInput as error:  # such as unfinished quotes
        log.info("a window was not refreshed: %s", error)
        return
    refresh_window(services, view, new)
