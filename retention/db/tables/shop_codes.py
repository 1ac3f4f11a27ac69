"""Tables of the discounts and codes that a shop is to have."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Id


class ShopDiscount(Base):
    """A discount of a shop: the codes of one campaign with the same terms.

    ``state`` is making, ready or blocked. A campaign sends only while all of its discounts are
    ready. Blocked: the shop's plan allows no more codes, and those made were removed.

    ``batch`` holds the codes of an unfinished request and, once known, its id on the platform.
    ``busy_until`` and ``retry_at`` are real time.
    """

    __tablename__ = "shop_discounts"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    connection_id: Mapped[int] = mapped_column(ForeignKey("connections.id"))
    reference: Mapped[str] = mapped_column(String(40))
    title: Mapped[str]
    terms: Mapped[dict[str, Any]]
    first_code: Mapped[str] = mapped_column(String(24))  # the discount is created and found with it
    ends_at: Mapped[datetime]
    platform_id: Mapped[str | None]
    state: Mapped[str] = mapped_column(String(10), default="making")
    batch: Mapped[dict[str, Any] | None]
    busy_until: Mapped[datetime | None]  # a request of a dead process may take effect until then
    attempts: Mapped[int] = mapped_column(default=0)
    retry_at: Mapped[datetime | None]
    error_code: Mapped[str | None] = mapped_column(String(20))  # retention.connect.contract
    error_detail: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (UniqueConstraint("team_id", "reference"), Index(None, "campaign_id", "state"))


class ShopCode(Base):
    """A coupon code that a shop is to have.

    ``state`` is what we know of the shop: wanted (not confirmed), made, refused, used (it stays) or
    deleted. Whether the shop should have the code follows from the coupon: a void one must go.
    """

    __tablename__ = "shop_codes"

    code: Mapped[str] = mapped_column(ForeignKey("coupons.code"), primary_key=True)
    discount_id: Mapped[int] = mapped_column(ForeignKey("shop_discounts.id"))
    state: Mapped[str] = mapped_column(String(10), default="wanted")
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index(None, "discount_id", "state"),)


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
