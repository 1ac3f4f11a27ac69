"""Keep the chats with the shop's customers.

A message is stored once for each key. Customers' messages wait, unhandled, until a worker has
answered them or passed them on (`workers.tasks.customers.service_answer`).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import delete, func, or_, select, update

from retention import clock
from retention.db import Transaction
from retention.db.insert import insert_once
from retention.db.tables import ChatMessage, Conversation, Outbox
from retention.privacy.periods import keep
from retention.text import replace_unstorable

CUSTOMER, DESK, TEAM = "customer", "desk", "team"
OPEN, WAITING, ABSENT, ANSWERED, CLOSED = "open", "waiting", "absent", "answered", "closed"
WITH_PEOPLE = (WAITING, ABSENT, ANSWERED)  # the desk itself answers nothing then
PREFIX = "service:"  # of the outbox keys of a chat's thread


def hash_of(token: str) -> str:
    """Return what is stored of a chat's secret token."""
    return sha256(f"chat:{token}".encode()).hexdigest()


def find(session: Transaction, token: str) -> Conversation | None:
    """Return the chat of a token."""
    return session.scalar(session.own(Conversation, token_hash=hash_of(token)))


def begin(session: Transaction, token: str) -> Conversation:
    """Return the chat of a token that the page has made; the first message begins it."""
    hashed = hash_of(token)
    own = {"team_id": session.settings.team_id, "token_hash": hashed}
    insert_once(session, Conversation, id=hashed[:24], **own)
    return locked(session, hashed[:24])


def locked(session: Transaction, conversation_id: str) -> Conversation:
    """Return a chat whose row no other transaction changes until this one ends."""
    return session.get_one(
        Conversation, conversation_id, populate_existing=True, with_for_update=True
    )


def add(
    session: Transaction, chat: Conversation, author: str, key: str, text: str, **fields: Any
) -> ChatMessage | None:
    """Add a message to a locked chat; None if its key is stored already."""
    stored = session.scalar(select(ChatMessage.id).where(ChatMessage.key == key))
    if stored is not None:
        return None
    chat.last_seq += 1
    chat.updated_at = clock.wall()
    message = ChatMessage(
        team_id=chat.team_id,
        conversation_id=chat.id,
        seq=chat.last_seq,
        key=key,
        author=author,
        said_at=clock.now(),
        text=replace_unstorable(text),
        **fields,
    )
    session.add(message)
    session.flush()
    return message


def seq_of(session: Transaction, key: str) -> int:
    """Return the number of a stored message."""
    return session.scalars(select(ChatMessage.seq).where(ChatMessage.key == key)).one()


def since(session: Transaction, chat: Conversation, after: int) -> Sequence[ChatMessage]:
    """Return the messages of a chat after a number, in order."""
    own = session.own(ChatMessage, conversation_id=chat.id).where(ChatMessage.seq > after)
    return session.scalars(own.order_by(ChatMessage.seq)).all()


def unhandled(session: Transaction, conversation_id: str) -> Sequence[ChatMessage]:
    """Return the customer's messages that nobody has handled, in order."""
    own = session.own(ChatMessage, conversation_id=conversation_id, is_handled=False)
    return session.scalars(own.order_by(ChatMessage.seq)).all()


def overdue(session: Transaction, seconds: int) -> Sequence[tuple[str, int]]:
    """Return the chats with messages that have waited so long, each with its newest."""
    before = clock.wall() - timedelta(seconds=seconds)
    own = ChatMessage.team_id == session.settings.team_id, ChatMessage.is_handled.is_(False)
    late = select(ChatMessage.conversation_id, func.max(ChatMessage.seq)).where(*own)
    late = late.where(ChatMessage.at < before).group_by(ChatMessage.conversation_id)
    return [
        (chat, seq) for chat, seq in session.execute(late.order_by(ChatMessage.conversation_id))
    ]


def hand_over(chat: Conversation, reason: str, channel: str | None) -> None:
    """Call a person to a locked chat."""
    chat.state, chat.reason, chat.channel = WAITING, reason, channel
    chat.waiting_since = clock.wall()


def waiting_before(session: Transaction, before: datetime) -> Sequence[str]:
    """Return the chats that have waited for a person since before a time."""
    own = session.own(Conversation, state=WAITING).where(Conversation.waiting_since < before)
    return list(session.scalars(own.with_only_columns(Conversation.id)))


def thread_key(conversation_id: str) -> str:
    """Return the outbox key of a chat's first message in Slack."""
    return f"{PREFIX}{conversation_id}"


def of_thread(session: Transaction, channel: str, ts: str) -> str | None:
    """Return the chat whose thread in Slack this is."""
    place = or_(Outbox.channel == channel, Outbox.channel_id == channel)
    own = session.own(Outbox, ts=ts).where(Outbox.key.startswith(PREFIX), place)
    key = session.scalar(own.with_only_columns(Outbox.key))
    return key.removeprefix(PREFIX) if key and key.count(":") == 1 else None


def post_keys(session: Transaction, ids: Iterable[str]) -> list[tuple[str, str]]:
    """Return key and channel of every Slack message of these customers' chats."""
    chats = session.own(Conversation).where(Conversation.customer_id.in_(list(ids)))
    keys = [thread_key(chat) for chat in session.scalars(chats.with_only_columns(Conversation.id))]
    if not keys:
        return []
    posts = session.own(Outbox).where(or_(Outbox.key.in_(keys), Outbox.thread_key.in_(keys)))
    return list(session.execute(posts.with_only_columns(Outbox.key, Outbox.channel)).tuples())


def erase(session: Transaction, ids: Iterable[str]) -> dict[str, int]:
    """Delete the chats of these customers."""
    own = select(Conversation.id).where(Conversation.customer_id.in_(list(ids)))
    messages = session.change(delete(ChatMessage).where(ChatMessage.conversation_id.in_(own)))
    chats = session.change(delete(Conversation).where(Conversation.customer_id.in_(list(ids))))
    return {"chat_messages": messages, "conversations": chats}


def drop_old(session: Transaction) -> None:
    """Delete the messages of chats that have been silent for the period of `periods`.

    The chat's own row stays: through it, an erasure finds what Slack shows of the chat.
    """
    before = clock.wall() - keep("chats")
    old = session.own(Conversation).where(Conversation.updated_at < before)
    session.change(
        delete(ChatMessage).where(
            ChatMessage.conversation_id.in_(old.with_only_columns(Conversation.id))
        )
    )
    silent = Conversation.team_id == session.settings.team_id, Conversation.updated_at < before
    session.change(update(Conversation).where(*silent).values(state=CLOSED))


def minutes_ago(minutes: int) -> datetime:
    """Return the real time of some minutes ago."""
    return clock.wall() - timedelta(minutes=minutes)
