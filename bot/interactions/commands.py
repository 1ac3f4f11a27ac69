"""Handle the buttons that run a command where they are."""

import re
import time
from typing import Any

from slack_bolt import Ack, App

from bot import slash
from bot.commands import SLACK, Call
from bot.interactions import Click, show_ephemeral
from bot.services import Services
from workers import ids


def register(app: App, services: Services) -> None:
    """Listen to the buttons.

    Parameters
    ----------
    app : App
        The Slack app.
    services : Services
        The installation's services.
    """

    @app.action(re.compile(rf"^{re.escape(ids.RUN_COMMAND)}(\.\d+)?$"))
    def run(ack: Ack, body: dict[str, Any]) -> None:
        started = time.monotonic()
        ack()
        click = Click.of(body)
        call = Call(services, click.user, SLACK, click.key, click.channel or click.user)
        show_ephemeral(services, click, slash.answer(services, click.value, call, started))
