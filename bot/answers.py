"""Show the answer to a command that a button or a window ran."""

import logging
from typing import Any

from slack_sdk.errors import SlackClientError
from slack_sdk.webhook import WebhookClient

from bot.interactions import is_slack_url
from bot.services import Services
from workers.delivery import render

log = logging.getLogger("retention.bot")


def show_answer(
    services: Services, response_url: str, user: str, message: render.Message, typed: str = ""
) -> None:
    """Show an answer only to one person.

    Best effort: a job's result comes by its own message.

    Parameters
    ----------
    services : Services
        The installation's services.
    response_url : str
        Slack's address for answers; without one, the answer is a direct message.
    user : str
        The person.
    message : Message
        The answer.
    typed : str, optional
        The command that ran, to be shown below the answer.
    """
    blocks: list[dict[str, Any]] = list(message.blocks)
    if typed:
        command = {"type": "mrkdwn", "text": f"`/retention {render.escape(typed)}`"}
        blocks.append({"type": "context", "elements": [command]})
    try:
        if response_url and is_slack_url(response_url, services.settings):
            WebhookClient(response_url, timeout=5).send(
                text=message.text, blocks=blocks, response_type="ephemeral", replace_original=False
            )
        else:
            services.client.chat_postMessage(channel=user, text=message.text, blocks=blocks)
    except (SlackClientError, OSError) as error:
        log.warning("an answer could not be shown to %s: %s", user, error)
