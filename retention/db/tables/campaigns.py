"""Tables of campaigns, their codes and messages, and unsubscribed customers."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Numbered, TeamKeyed


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
    test_ends_at: Mapped[datetime | None]  # when the rest gets the winner
    test_result: Mapped[dict[str, Any] | None]
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
    decision: Mapped[str] = mapped_column(String(12))  # approve | reject
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
    # audience | treatment | control | excluded
    arm: Mapped[str] = mapped_column(String(12), default="audience")
    bucket: Mapped[int]
    tier: Mapped[str] = mapped_column(String(8))
    churn_probability: Mapped[float]
    expected_value: Mapped[float]
    propensity: Mapped[float | None]
    variant: Mapped[str | None] = mapped_column(String(1))  # A, B … of a test; None: not drawn
    variant_propensity: Mapped[float | None]  # None for the rest, which gets the winner
    offer: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Coupon(Base):
    """A single-use code of a customer."""

    __tablename__ = "coupons"

    code: Mapped[str] = mapped_column(String(24), primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    customer_id: Mapped[str]
    # reserved | issued | redeemed | void
    state: Mapped[str] = mapped_column(String(10), default="reserved")
    expires_at: Mapped[datetime]
    issued_at: Mapped[datetime | None]
    redeemed_at: Mapped[datetime | None]
    order_id: Mapped[str | None]

    __table_args__ = (UniqueConstraint("campaign_id", "customer_id"),)


class Redemption(Numbered):
    """A reported use of a coupon. ``key`` identifies the report."""

    __tablename__ = "redemptions"

    key: Mapped[str] = mapped_column(String(80), unique=True)
    code: Mapped[str] = mapped_column(String(24))  # normalised
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    customer_id: Mapped[str | None]  # user of the code, if reported
    order_id: Mapped[str | None]
    at: Mapped[datetime]
    source: Mapped[str] = mapped_column(String(8))  # event | import | http
    # retention.campaigns.codes.redemptions.outcome_text
    outcome: Mapped[str] = mapped_column(String(16))
    told: Mapped[bool] = mapped_column(default=False)  # whether the campaign's thread counts it

    __table_args__ = (Index(None, "campaign_id", "told", "outcome"), Index(None, "code"))


class ShopDiscount(Numbered):
    """A discount of a shop: the codes of one campaign with the same terms.

    ``state`` is making, ready or blocked. A campaign sends only while all of its discounts are
    ready. Blocked: the shop's plan allows no more codes, and those made were removed.

    ``batch`` holds the codes of an unfinished request and, once known, its id on the platform.
    ``busy_until`` and ``retry_at`` are real time.
    """

    __tablename__ = "shop_discounts"

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


class ProgrammeHoldout(Numbered):
    """The share of customers that no campaign contacts, from a moment on.

    The newest row counts. All rows have the same salt, so a customer stays inside while the share
    does not fall.
    """

    __tablename__ = "programme_holdouts"

    share: Mapped[float]
    salt: Mapped[str] = mapped_column(String(64))
    set_by: Mapped[str] = mapped_column(String(64))
    set_at: Mapped[datetime] = mapped_column(default=clock.now)


class PolicyChange(TeamKeyed):
    """All that admins have changed in the policy file, from a version on. The newest counts.

    ``body`` maps a place in the file, such as ``campaign.budget``, to its value.
    """

    __tablename__ = "policy_changes"

    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    body: Mapped[dict[str, Any]]
    changed_by: Mapped[str] = mapped_column(String(64))
    changed_at: Mapped[datetime] = mapped_column(default=clock.now)


class PolicyProposal(Numbered):
    """A change of the policy that a campaign's result proposes; a second person decides.

    ``before`` and ``after`` map a place in the policy to its value. ``evidence`` is the result's.
    """

    __tablename__ = "policy_proposals"

    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    before: Mapped[dict[str, Any]]
    after: Mapped[dict[str, Any]]
    evidence: Mapped[dict[str, Any]]
    channel: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(10), default="open")  # open | approved | rejected
    decided_by: Mapped[str | None] = mapped_column(String(64))
    decided_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int | None]  # of the policy, once it is approved
    created_at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (UniqueConstraint("campaign_id"), Index(None, "team_id", "state"))


class Send(Numbered):
    """The message of a campaign to one customer.

    Retries reuse the row.

    The address is read from the lake at sending time and is not stored. ``not_before`` is business
    time (quiet hours). ``retry_at`` and ``lease_until`` are real time.
    """

    __tablename__ = "sends"

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
    tracks_opens: Mapped[bool] = mapped_column(server_default=false())
    tracks_clicks: Mapped[bool] = mapped_column(server_default=false())

    __table_args__ = (
        UniqueConstraint("campaign_id", "customer_id"),
        Index(None, "campaign_id", "state", "id"),
        Index(None, "customer_id"),
    )


class CampaignLink(Base):
    """A page that e-mails of a campaign link to. ``url`` may have ``{code}`` for the own code.

    ``number`` is a hash of the URL, so processes agree on it without asking each other.
    """

    __tablename__ = "campaign_links"

    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    url: Mapped[str] = mapped_column(Text)


class MessageEvent(Numbered):
    """The first open or click of an e-mail, by a person or a machine; repeats only count.

    ``link`` is 0 for an open, and for a click on an unknown link. ``at`` is business time.
    """

    __tablename__ = "message_events"

    send_id: Mapped[int] = mapped_column(ForeignKey("sends.id"))
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    customer_id: Mapped[str]
    kind: Mapped[str] = mapped_column(String(8))  # open | click
    link: Mapped[int] = mapped_column(BigInteger, default=0)
    is_machine: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str] = mapped_column(String(16), default="")  # retention.outreach.machines
    at: Mapped[datetime]
    times: Mapped[int] = mapped_column(default=1)

    __table_args__ = (
        UniqueConstraint("send_id", "kind", "link", "is_machine"),
        Index(None, "campaign_id"),
        Index(None, "customer_id"),
        Index(None, "team_id", "kind", "at"),
    )


class Suppression(Base):
    """A customer who unsubscribed from a channel. It overrides the consent in imported files."""

    __tablename__ = "suppressions"

    customer_id: Mapped[str] = mapped_column(primary_key=True)
    # retention.outreach.adapter.MessageChannel
    channel: Mapped[str] = mapped_column(
        String(8), primary_key=True, default="email", server_default="email"
    )
    source: Mapped[str] = mapped_column(String(16))  # unsubscribe
    campaign_id: Mapped[str | None] = mapped_column(String(16))
    at: Mapped[datetime] = mapped_column(default=clock.now)
