"""Tables of campaigns, approvals, assignments and coupons."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base


class Campaign(Base):
    """A coupon campaign. Each transition is a compare-and-set on ``version`` or ``state``."""

    __tablename__ = "campaigns"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str]
    state: Mapped[str] = mapped_column(String(12), default="draft")
    version: Mapped[int] = mapped_column(default=1)
    cohort_id: Mapped[str | None] = mapped_column(String(16))
    channel: Mapped[str | None] = mapped_column(String(64))
    post_key: Mapped[str]  # outbox key of its message, which starts the thread
    body: Mapped[dict[str, Any]]  # offer, audience, exclusions, hold-out, cost … as of `version`
    salt: Mapped[str] = mapped_column(String(64))
    drafted_by: Mapped[str] = mapped_column(String(64))
    submitted_by: Mapped[str | None] = mapped_column(String(64))
    submitted_at: Mapped[datetime | None]
    decided_by: Mapped[str | None] = mapped_column(String(64))
    decided_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(Text)
    approved_by: Mapped[list[Any]] = mapped_column(default=list)  # user ids, for this version
    call_owner: Mapped[str | None] = mapped_column(String(64))  # who makes its calls
    remind_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]  # of the request; after a decision, of the approval
    clears_at: Mapped[datetime | None]  # end of the clearance time
    send_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    window_ends_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (Index(None, "team_id", "state"),)


class CampaignVersion(Base):
    """The body and author of a campaign version."""

    __tablename__ = "campaign_versions"

    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[dict[str, Any]]
    edited_by: Mapped[str] = mapped_column(String(64))
    edited_at: Mapped[datetime] = mapped_column(default=clock.now)


class CampaignEditor(Base):
    """An editor of a campaign. Editors cannot approve it."""

    __tablename__ = "campaign_editors"

    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(64), primary_key=True)


class Approval(Base):
    """One person's decision on one version."""

    __tablename__ = "approvals"

    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    decision: Mapped[str] = mapped_column(String(12))  # approve | reject | stop
    reason: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(default=clock.now)


class Assignment(Base):
    """A customer in a campaign's audience.

    The draft stores each customer's ``bucket`` (0 … 9,999, from a keyed hash, stratified by tier).
    Approval sets all ``arm`` values in one UPDATE. Until then, they are ``audience``.
    """

    __tablename__ = "assignments"

    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    arm: Mapped[str] = mapped_column(
        String(12), default="audience"
    )  # audience | treatment | control
    bucket: Mapped[int]
    tier: Mapped[str] = mapped_column(String(8))
    churn_probability: Mapped[float]
    expected_value: Mapped[float]
    propensity: Mapped[float | None]
    offer: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Coupon(Base):
    """A single-use code of a customer."""

    __tablename__ = "coupons"

    code: Mapped[str] = mapped_column(String(24), primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    customer_id: Mapped[str]
    state: Mapped[str] = mapped_column(
        String(10), default="reserved"
    )  # reserved | issued | redeemed | void
    expires_at: Mapped[datetime]
    issued_at: Mapped[datetime | None]
    redeemed_at: Mapped[datetime | None]
    order_id: Mapped[str | None]

    __table_args__ = (UniqueConstraint("campaign_id", "customer_id"),)
