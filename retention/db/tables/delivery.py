"""Tables of Slack messages, files and requests."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Id


class Outbox(Base):
    """The desired content of a Slack message.

    The sender posts it, and updates it while ``sent_revision`` (shown in Slack) is less than
    ``revision`` (desired).
    """

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(String(12), default="message")  # message | file
    channel: Mapped[str] = mapped_column(
        String(64)
    )  # a channel id, or a user id for their direct message
    channel_id: Mapped[str | None] = mapped_column(String(64))  # actual channel
    thread_key: Mapped[str | None]  # outbox key of the thread's first message
    thread_ts: Mapped[str | None] = mapped_column(String(32))
    payload: Mapped[dict[str, Any]]
    revision: Mapped[int] = mapped_column(default=1)
    sent_revision: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(14), default="pending")
    attempts: Mapped[int] = mapped_column(default=0)
    ambiguous: Mapped[int] = mapped_column(default=0)
    next_at: Mapped[datetime] = mapped_column(default=clock.wall)
    first_try: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    ts: Mapped[str | None] = mapped_column(String(32))
    error: Mapped[str | None] = mapped_column(Text)
    job_id: Mapped[str | None] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(default=clock.wall)
    sent_at: Mapped[datetime | None]
    # Each call uses a second of its channel's allowance. The channel's newest value counts.
    allowance_used_until: Mapped[datetime | None]

    __table_args__ = (
        Index(None, "state", "next_at"),
        Index(None, "channel", "state"),
        Index(None, "channel", "allowance_used_until"),
    )


class File(Base):
    """A chart or CSV file for Slack. SQL stores it in the transaction of its message."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str]
    mime: Mapped[str] = mapped_column(String(80))
    content: Mapped[bytes | None]  # deleted after delivery if it has identities or codes
    alt_text: Mapped[str] = mapped_column(Text, default="")
    sensitive: Mapped[bool] = mapped_column(default=False)
    slack_file_id: Mapped[str | None] = mapped_column(String(32))
    uploaded_at: Mapped[datetime | None] = mapped_column(index=True)
    created_at: Mapped[datetime] = mapped_column(default=clock.wall)


class Thread(Base):
    """What a Slack thread is about: the last command typed in it.

    ``customer`` is a pseudonym, and so are customers in ``command``.
    """

    __tablename__ = "threads"

    team_id: Mapped[str] = mapped_column(String(32), primary_key=True, default="local")
    channel: Mapped[str] = mapped_column(String(64), primary_key=True)
    ts: Mapped[str] = mapped_column(String(32), primary_key=True)  # of its first message
    command: Mapped[str] = mapped_column(Text)
    customer: Mapped[str | None] = mapped_column(String(32))
    campaign_id: Mapped[str | None] = mapped_column(String(32))
    job_id: Mapped[str | None] = mapped_column(String(32))
    updated_at: Mapped[datetime] = mapped_column(default=clock.wall)


class Delivery(Base):
    """A processed request from Slack.

    It prevents processing a request twice, which Bolt does not.
    """

    __tablename__ = "deliveries"

    key: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=clock.wall)


class StoredClick(Base):
    """A click that Slack has an answer to, as long as its listener has not ended."""

    __tablename__ = "stored_clicks"

    key: Mapped[str] = mapped_column(primary_key=True)
    body: Mapped[dict[str, Any]]  # Slack's payload without the message
    at: Mapped[datetime] = mapped_column(default=clock.wall)
