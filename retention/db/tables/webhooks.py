"""Tables of received webhooks, and of what shops do not store themselves."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Id


class Webhook(Base):
    """A verified delivery of a connected shop.

    A repeated delivery has the same ``delivery_id``. ``state`` is waiting, done or set_aside.
    ``body`` has personal data and is emptied when the delivery waits no more. ``retry_at`` is real
    time.
    """

    __tablename__ = "webhook_inbox"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    connection_id: Mapped[int] = mapped_column(ForeignKey("connections.id", ondelete="CASCADE"))
    delivery_id: Mapped[str] = mapped_column(String(255))
    topic: Mapped[str] = mapped_column(String(80))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(String(12), default="waiting")
    reason: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    received_at: Mapped[datetime] = mapped_column(default=clock.wall)
    retry_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("connection_id", "delivery_id"),
        Index("ix_webhook_inbox_state_id", "state", "id"),
    )


class CancelledOrder(Base):
    """When an order of a shop was first seen as cancelled; its time of the last change moves on."""

    __tablename__ = "cancelled_orders"

    connection_id: Mapped[int] = mapped_column(
        ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True
    )
    order_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime]
