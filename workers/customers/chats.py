"""Connect customers' chats with their threads in Slack.

A chat's thread has one message for each message of the chat, with the chat's number in its key. So
a repeat after a crash updates a message and never posts a second one.
"""

from collections.abc import Iterable
from typing import Any

from retention import clock
from retention.db import Transaction
from retention.db.tables import ChatMessage, Conversation
from retention.service import store
from retention.text import gettext, use_language
from workers.data.source_pulls import digest_channel
from workers.delivery import outbox
from workers.job_requests import ServiceAnswer
from workers.queue import jobs
from workers.tasks.interface import Post

LATE_SECONDS = 60  # of a message that no worker has handled
PER_TICK = 100


def channel_of(session: Transaction) -> str | None:
    """Return the channel in which people answer customers."""
    return session.settings.service_channel or digest_channel(session)


def submit(
    session: Transaction, conversation_id: str, seq: int, again: str = ""
) -> jobs.Submission:
    """Let a worker handle the messages of a chat up to a number."""
    request = ServiceAnswer(conversation_id=conversation_id, seq=seq)
    return jobs.submit_due(session, request, f"service:{conversation_id}:{seq}{again}")


def thread_posts(chat: Conversation, messages: Iterable[ChatMessage]) -> list[Post]:
    """Return the messages of a chat for its thread; what the team wrote is there already."""
    root = store.thread_key(chat.id)
    return [
        Post(
            "service/message",
            {"author": each.author, "text": each.text},
            key=f"{root}:{each.seq}",
            channel=chat.channel,
            thread_key=root,
        )
        for each in messages
        if each.author != store.TEAM
    ]


def root_post(chat: Conversation, facts: dict[str, Any]) -> Post:
    """Return the first message of a chat's thread."""
    values = {"chat": chat.id, "reason": chat.reason, **facts}
    return Post("service/handover", values, key=store.thread_key(chat.id), channel=chat.channel)


def say(session: Transaction, chat: Conversation, key: str, code: str, text: str) -> None:
    """Let the desk tell the customer and the thread something, once."""
    message = store.add(session, chat, store.DESK, f"{chat.id}:{key}", text, code=code)
    for post in thread_posts(chat, [message] if message else []):
        outbox.put(session, post, default_channel=chat.channel)


def close(session: Transaction, conversation_id: str) -> bool:
    """End a chat with people, and tell both sides; false if it has ended before."""
    chat = store.locked(session, conversation_id)
    if chat.state not in store.WITH_PEOPLE:
        return False
    chat.state, chat.waiting_since = store.CLOSED, None
    with use_language(chat.language):
        text = gettext("The conversation with our colleague has ended. Write again at any time.")
    say(session, chat, f"closed:{chat.last_seq}", "closed", text)
    return True


def tell_absence(session: Transaction) -> None:
    """Ask customers for an e-mail address if nobody has answered in time."""
    before = store.minutes_ago(session.settings.service_wait_minutes)
    for conversation_id in store.waiting_before(session, before):
        chat = store.locked(session, conversation_id)
        if chat.state != store.WAITING:
            continue
        chat.state = store.ABSENT
        with use_language(chat.language):
            text = gettext(
                "Nobody is free at the moment. Please write your e-mail address here; a colleague "
                "will write to you."
            )
        say(session, chat, f"absent:{chat.last_seq}", "absent", text)


def overdue(session: Transaction) -> Iterable[tuple[ServiceAnswer, str, None]]:
    """Return requests for messages that a failed or lost job has left, once in an hour."""
    hour = f"{clock.wall():%Y%m%d%H}"
    for conversation_id, seq in store.overdue(session, LATE_SECONDS)[:PER_TICK]:
        request = ServiceAnswer(conversation_id=conversation_id, seq=seq)
        yield request, f"service:{conversation_id}:{seq}:{hour}", None
