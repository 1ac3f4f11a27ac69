"""Store what the team writes in a chat's thread, before Slack has an answer.

Slack repeats an event that had no answer, so a kill loses no reply. A reply is stored under its
channel and time stamp, so a repeat stores none.
"""

import html
import re
from collections.abc import Callable
from typing import Any

from slack_bolt import BoltResponse

from bot.services import Services
from retention.db import Transaction
from retention.service import store
from retention.text import gettext
from workers import user_roles
from workers.customers import chats
from workers.delivery import outbox
from workers.tasks.interface import Post

ROLE = "analyst"
MAX_CHARACTERS = 4_000  # of a reply
_CLOSE = re.compile(r"/?(?:close|关闭)[\s.!。！]*", re.IGNORECASE)
_LINK = re.compile(r"<(?P<target>[^<>|]+)(?:\|(?P<label>[^<>]*))?>")


class StoreReply:
    """Bolt middleware. Other features do not see the messages of a chat's thread."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self, body: dict[str, Any], next: Callable[[], BoltResponse]) -> BoltResponse:
        event = body.get("event") or {}
        channel, root, ts = event.get("channel"), event.get("thread_ts"), event.get("ts")
        if event.get("type") not in ("message", "app_mention") or not root or root == ts:
            return next()
        with self._services.database.reading() as session:
            conversation_id = store.of_thread(session, str(channel), str(root))
        if conversation_id is None:
            return next()
        is_of_person = not any(event.get(field) for field in ("bot_id", "app_id", "subtype"))
        if is_of_person and event.get("user") and event.get("text"):
            key = f"slack:{channel}:{ts}"
            said = (str(event["user"]), plain(event["text"]), key)
            self._services.group_commit.store(
                lambda session: store_reply(session, conversation_id, *said)
            )
        return BoltResponse(status=200)


def store_reply(session: Transaction, conversation_id: str, user: str, text: str, key: str) -> None:
    """Pass a colleague's reply on to the customer, or end the chat at ``/close``."""
    if not user_roles.allows(user_roles.role_of(session, user), ROLE):
        sentence = gettext("The customer did not get this: to answer customers you need {role}.")
        root = store.thread_key(conversation_id)
        values = {"sentence": sentence.format(role=ROLE)}
        channel = outbox.channel_of(session, root)
        post = Post("talk/refused", values, f"{root}:{key}", channel=channel, thread_key=root)
        outbox.put(session, post, default_channel=channel)
    elif _CLOSE.fullmatch(text.strip()):
        chats.close(session, conversation_id)
    else:
        chat = store.locked(session, conversation_id)
        if store.add(session, chat, store.TEAM, key, text[:MAX_CHARACTERS]):
            chat.state, chat.waiting_since = store.ANSWERED, None


def plain(text: str) -> str:
    """Return a Slack message as plain text: links by their address, no ids of people."""

    def shown(match: re.Match[str]) -> str:
        target = match["target"]
        return match["label"] or ("" if target[0] in "@#!" else target.removeprefix("mailto:"))

    return html.unescape(_LINK.sub(shown, text)).strip()
