"""Handle the button that ends a customer's chat."""

from slack_bolt import App

from bot.services import Services
from bot.slack.chat_replies import ROLE
from bot.slack.interactions import Click, listen, once
from retention.text import gettext
from workers import action_ids
from workers.customers import chats


def register(app: App, services: Services) -> None:
    """Listen to the button."""
    listen(app, services, {action_ids.CLOSE_CHAT: _close})


def _close(services: Services, click: Click) -> None:
    with once(services, click, ROLE, gettext("answer customers")) as session:
        chats.close(session, click.value)
