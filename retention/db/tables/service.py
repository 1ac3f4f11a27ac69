"""Tables of the chat with the shop's customers."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Numbered


class Conversation(Base):
    """A customer's chat. Its id is the hash of its secret token; whoever has that reads it."""

    __tablename__ = "conversations"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    customer_id: Mapped[str | None] = mapped_column(index=True)  # only of a signed identity
    language: Mapped[str] = mapped_column(String(8), default="en")  # of the newest message
    # open | waiting (for a person) | absent (the customer knows that nobody came) | answered
    # (by a person) | closed
    state: Mapped[str] = mapped_column(String(10), default="open")
    channel: Mapped[str | None] = mapped_column(String(64))
    waiting_since: Mapped[datetime | None]
    last_seq: Mapped[int] = mapped_column(default=0)
    updated_at: Mapped[datetime] = mapped_column(default=clock.wall)

    __table_args__ = (Index(None, "team_id", "state"),)


class ChatMessage(Numbered):
    """A message of a chat. ``key`` identifies what it comes from, so a repeat is no new one."""

    __tablename__ = "chat_messages"

    conversation_id: Mapped[str] = mapped_column(ForeignKey("conversations.id"))
    seq: Mapped[int]
    key: Mapped[str] = mapped_column(unique=True)
    author: Mapped[str] = mapped_column(String(10))  # customer | desk | team
    code: Mapped[str] = mapped_column(String(16), default="")  # what kind of answer it is
    text: Mapped[str] = mapped_column(Text)
    sources: Mapped[list[Any]] = mapped_column(default=list)  # title and url of each
    is_signed: Mapped[bool] = mapped_column(default=False)
    is_handled: Mapped[bool] = mapped_column(default=True)  # a customer's: answered or passed on
    said_at: Mapped[datetime]  # business time, as of events
    at: Mapped[datetime] = mapped_column(default=clock.wall)

    __table_args__ = (UniqueConstraint("conversation_id", "seq"), Index(None, "is_handled", "at"))
