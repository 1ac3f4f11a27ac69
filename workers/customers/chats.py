"""Connect customers' chats with their threads in Slack.

A chat's thread has one message for each message of the chat, with the chat's number in its key. So
a repeat after a crash updates a message and never posts a second one.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from retention import clock
from retention.db import Transaction
from retention.db.tables import ChatMessage, Conversation
from retention.service import store
from retention.text import gettext, use_language
from workers.delivery import outbox
from workers.job_requests import ServiceAnswer
from workers.tasks.interface import Post

LATE = timedelta(minutes=1)  # of a message that no worker has handled
PER_TICK = 100


def job_of(message: ChatMessage, again: str = "") -> tuple[ServiceAnswer, str]:
    """Return the job that handles the messages of a chat up to this one, and its key."""
    request = ServiceAnswer(conversation_id=message.conversation_id, seq=message.seq)
    return request, f"service:{message.conversation_id}:{message.seq}{again}"


def post(session: Transaction, chat: Conversation, messages: Iterable[ChatMessage]) -> None:
    """Post messages of a chat into its thread, once; what the team wrote is there already."""
    root = store.thread_key(chat.id)
    for each in messages:
        key = f"{root}:{each.seq}"
        if each.author != store.TEAM and outbox.channel_of(session, key) is None:
            values = {"author": each.author, "text": each.text}
            shown = Post("service/message", values, key, chat.channel, root)
            outbox.put(session, shown, default_channel=None)


def tell(session: Transaction, chat: Conversation, code: str, text: str) -> None:
    """Let the desk tell the customer and the thread something."""
    key = f"{chat.id}:{code}:{chat.last_seq}"
    if message := store.add(session, chat, store.DESK, key, text, code=code):
        post(session, chat, [message])


def close(session: Transaction, conversation_id: str) -> None:
    """End a chat with people, once, and tell both sides."""
    chat = store.locked(session, conversation_id)
    if chat.state in store.WITH_PEOPLE:
        chat.state = store.CLOSED
        with use_language(chat.language):
            text = gettext(
                "The conversation with our colleague has ended. Write again at any time."
            )
        tell(session, chat, "closed", text)


def due(session: Transaction, now: datetime) -> Iterable[tuple[ServiceAnswer, str, None]]:
    """Ask customers for an e-mail address if nobody has answered in time.

    Return the jobs of messages that a failed job has left, once in an hour.
    """
    late = clock.wall() - timedelta(minutes=session.settings.service_wait_minutes)
    waiting = session.own(Conversation, state=store.WAITING)
    for each in session.scalars(waiting.where(Conversation.waiting_since < late)).all():
        chat = store.locked(session, each.id)
        if chat.state == store.WAITING:
            chat.state = store.ABSENT
            with use_language(chat.language):
                text = gettext(
                    "Nobody is free at the moment. Please write your e-mail address here; a "
                    "colleague will write to you."
                )
            tell(session, chat, "absent", text)
    left = session.own(ChatMessage, is_handled=False).where(ChatMessage.at < clock.wall() - LATE)
    for message in session.scalars(left.order_by(ChatMessage.id).limit(PER_TICK)).all():
        yield *job_of(message, f":{clock.wall():%Y%m%d%H}"), None
