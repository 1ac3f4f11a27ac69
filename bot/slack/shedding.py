"""Answer a command that the bot has no room for, with one sentence.

Slack shows a person an error after three seconds. So a command that would wait too long is answered
at once, without the database. Clicks, windows and events are not shed: they change something, and
Slack offers a click again or repeats an event after an error.
"""

from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk.socket_mode.builtin import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from bot.http import requests
from bot.slack.middleware import SpeakLanguage
from retention.text import gettext, use_language
from workers.delivery import render

MAX_COMMANDS = 64  # Slack's requests under way or waiting; two for each thread
MAX_WAIT_SECONDS = 1.0  # of a command for a thread
SOCKET = "socket"  # the path of requests in Socket Mode, for the log


def command_of(body: bytes) -> dict[str, str] | None:
    """Return the fields of a signed slash command, None for any other request."""
    if body.startswith((b"payload=", b"{")):
        return None
    fields = dict(parse_qsl(body.decode("utf-8", "replace")))
    return fields if "command" in fields else None


def answer(languages: SpeakLanguage, fields: dict[str, Any], path: str) -> dict[str, Any]:
    """Count a shed command, and return the message that only its person sees."""
    requests.note(requests.SHED, path)
    return _message(languages.known(fields))


@lru_cache(maxsize=32)
def _message(language: str | None) -> dict[str, Any]:
    with use_language(language):
        sentence = gettext(
            "The desk has too many commands to answer right now, so please type yours again in a "
            "few seconds."
        )
        shown = render.message("job/refused", sentence=sentence)
    return {"response_type": "ephemeral", "text": shown.text, "blocks": shown.blocks}


class SocketMode(SocketModeHandler):
    """Bolt's handler that sheds commands while many requests wait for a thread."""

    def __init__(self, *args: Any, languages: SpeakLanguage, **options: Any) -> None:
        super().__init__(*args, **options)
        self._languages = languages

    def handle(self, client: SocketModeClient, req: SocketModeRequest) -> None:  # type: ignore[override]
        waiting = client.message_workers._work_queue.qsize()
        if req.type != "slash_commands" or waiting < MAX_COMMANDS:
            super().handle(client, req)
            return
        shown = answer(self._languages, req.payload, SOCKET)
        client.send_socket_mode_response(SocketModeResponse(req.envelope_id, shown))
