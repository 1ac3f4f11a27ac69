"""Keep the chats with the shop's customers.

A message is stored once for each key. Customers' messages wait, unhandled, until a worker has
answered them or passed them on (`workers.tasks.customers.service_answer`).
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

from sqlalchemy import delete, or_, select, update

from retention import clock
from retention.db import Transaction
from retention.db.insert import insert_once
from retention.db.tables import ChatMessage, Conversation, Outbox
from retention.errors import BadInput
from retention.privacy.periods import keep
from retention.text import gettext, replace_unstorable

CUSTOMER, DESK, TEAM = "customer", "desk", "team"
OPEN, WAITING, ABSENT, ANSWERED, CLOSED = "open", "waiting", "absent", "answered", "closed"
WITH_PEOPLE = (WAITING, ABSENT, ANSWERED)  # the desk itself answers nothing then
PREFIX = "service:"  # of the outbox keys of a chat's thread


def id_of(token: str) -> str:
    """Return the id of a chat: the hash of its secret token."""
    return sha256(f"chat:{token}".encode()).hexdigest()[:32]


def begin(session: Transaction, token: str) -> Conversation:
    """Return the chat of a token that the page has made; the first message begins it."""
    insert_once(session, Conversation, id=id_of(token), team_id=session.settings.team_id)
    return locked(session, id_of(token))


def locked(session: Transaction, conversation_id: str) -> Conversation:
    """Return a chat whose row no other transaction changes until this one ends.

    Raises `BadInput`: the chat was deleted.
    """
    how: Any = {"populate_existing": True, "with_for_update": True}
    if chat := session.get(Conversation, conversation_id, **how):
        return chat
    raise BadInput(
        gettext("This chat was deleted: its customer was erased, or nobody wrote for a long time.")
    )


def add(
    session: Transaction, chat: Conversation, author: str, key: str, text: str, **fields: Any
) -> ChatMessage | None:
    """Add a message to a locked chat; None if its key is stored already."""
    if session.scalar(select(ChatMessage.id).where(ChatMessage.key == key)) is not None:
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


def messages(
    session: Transaction, conversation_id: str, after: int = 0, **which: Any
) -> Sequence[ChatMessage]:
    """Return the messages of a chat after a number, in order."""
    own = session.own(ChatMessage, conversation_id=conversation_id, **which)
    return session.scalars(own.where(ChatMessage.seq > after).order_by(ChatMessage.seq)).all()


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
    chats = select(Conversation.id).where(Conversation.customer_id.in_(list(ids)))
    keys = [thread_key(chat) for chat in session.scalars(chats)]
    posts = session.own(Outbox).where(or_(Outbox.key.in_(keys), Outbox.thread_key.in_(keys)))
    return list(session.execute(posts.with_only_columns(Outbox.key, Outbox.channel)).tuples())


def erase(session: Transaction, ids: Iterable[str]) -> dict[str, int]:
    """Delete the chats of these customers."""
    own = Conversation.customer_id.in_(list(ids))
    chats = ChatMessage.conversation_id.in_(select(Conversation.id).where(own))
    messages = session.change(delete(ChatMessage).where(chats))
    return {
        "chat_messages": messages,
        "conversations": session.change(delete(Conversation).where(own)),
    }


def drop_old(session: Transaction) -> None:
    """Delete the messages of chats that have been silent for the period of `periods`.

    The chat's own row stays: through it, an erasure finds what Slack shows of the chat.
    """
    is_old = Conversation.updated_at < clock.wall() - keep("chats")
    old = ChatMessage.conversation_id.in_(select(Conversation.id).where(is_old))
    session.execute(delete(ChatMessage).where(old))
    session.execute(update(Conversation).where(is_old).values(state=CLOSED))
