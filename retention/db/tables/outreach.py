"""Tables of sends, unsubscribed customers and redemptions."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Id


class Send(Base):
    """The message of a campaign to one customer.

    Retries reuse the row.

    The address is read from the lake at sending time and is not stored. ``not_before`` is business
    time (quiet hours). ``retry_at`` and ``lease_until`` are real time.
    """

    __tablename__ = "sends"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    customer_id: Mapped[str]
    channel: Mapped[str] = mapped_column(String(8))
    # csv | call | email | webhook | platform: how an e-mail goes; sms | whatsapp: a text
    state: Mapped[str] = mapped_column(String(10), default="queued")
    # queued -> sending -> sent | failed | bounced | held (arrival unknown); queued -> cancelled
    attempts: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime | None]
    retry_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    job_id: Mapped[str | None] = mapped_column(String(32))
    message_id: Mapped[str | None]
    error: Mapped[str | None] = mapped_column(Text)
    error_code: Mapped[str | None] = mapped_column(String(32))  # retention.outreach.adapter
    queued_at: Mapped[datetime] = mapped_column(default=clock.now)
    sent_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("campaign_id", "customer_id"),
        Index(None, "campaign_id", "state", "id"),
        Index(None, "customer_id"),
    )


class Suppression(Base):
    """A customer who unsubscribed from a channel. It overrides the consent in imported files."""

    __tablename__ = "suppressions"

    customer_id: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(
        String(8), primary_key=True, default="email", server_default="email"
    )  # retention.outreach.adapter.MessageChannel
    source: Mapped[str] = mapped_column(String(16))  # unsubscribe
    campaign_id: Mapped[str | None] = mapped_column(String(16))
    at: Mapped[datetime] = mapped_column(default=clock.now)


class Redemption(Base):
    """A reported use of a coupon. ``key`` identifies the report."""

    __tablename__ = "redemptions"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    key: Mapped[str] = mapped_column(String(80), unique=True)
    code: Mapped[str] = mapped_column(String(24))  # normalised
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    customer_id: Mapped[str | None]  # user of the code, if reported
    order_id: Mapped[str | None]
    at: Mapped[datetime]
    source: Mapped[str] = mapped_column(String(8))  # event | import | http
    outcome: Mapped[str] = mapped_column(
        String(16)
    )  # retention.campaigns.codes.redemptions.outcome_text
    told: Mapped[bool] = mapped_column(default=False)  # whether the campaign's thread counts it

    __table_args__ = (Index(None, "campaign_id", "told", "outcome"), Index(None, "code"))
