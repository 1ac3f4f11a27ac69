"""Every SQL table, in the order of the story: jobs → delivery → schedules → models → campaigns → people.

Large data lives in the lake as columns; here is small, contended state as rows. Every table carries ``team_id``.
Times are UTC; ``*_at`` of a lease or a delivery is real time, of a campaign or a schedule business time.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from retention import clock


class Utc(TypeDecorator):
    """An aware UTC datetime; SQLite, which has no zones, stores it naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r} for a UTC column")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Utc(),
        date: Date(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
        Decimal: Numeric(18, 4),
        bytes: LargeBinary(),
        str: String(255),
        bool: Boolean(),
        float: Float(),
    }

    team_id: Mapped[str] = mapped_column(String(32), default="local")


_Id = BigInteger().with_variant(Integer, "sqlite")


# ---------------------------------------------------------------- jobs


class Job(Base):
    """A piece of background work. The row is the truth; the broker only a wake-up.

    ``queued → running → done | failed | cancelled``, only by compare-and-set on (id, state, attempt).
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    queue: Mapped[str] = mapped_column(String(20))
    args: Mapped[dict[str, Any]]
    idem_key: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(String(12), default="queued")
    attempt: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    enqueued_at: Mapped[datetime | None]
    requested_by: Mapped[str] = mapped_column(String(64))
    channel: Mapped[str | None] = mapped_column(String(64))
    thread_key: Mapped[str | None]
    progress_done: Mapped[int] = mapped_column(default=0)
    progress_total: Mapped[int] = mapped_column(default=0)
    progress_text: Mapped[str] = mapped_column(default="")
    worker: Mapped[str] = mapped_column(default="")
    cancel_at: Mapped[datetime | None]
    cancelled_by: Mapped[str | None] = mapped_column(String(64))
    error: Mapped[str | None] = mapped_column(Text)
    reference: Mapped[str | None] = mapped_column(String(16))
    result: Mapped[dict[str, Any] | None]
    business_at: Mapped[datetime] = mapped_column(default=clock.now)
    created_at: Mapped[datetime] = mapped_column(default=clock.wall)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "state", "enqueued_at"), Index(None, "team_id", "created_at"))


class Run(Base):
    """What a job's attempt wrote to the lake; readers see published runs only."""

    __tablename__ = "runs"

    run_id: Mapped[str] = mapped_column(String(48), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(32))
    table_name: Mapped[str] = mapped_column(String(40))
    published_at: Mapped[datetime] = mapped_column(default=clock.wall)


class Process(Base):
    """A living process of ours, as it last reported itself."""

    __tablename__ = "processes"

    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    role: Mapped[str] = mapped_column(String(20))
    seen_at: Mapped[datetime] = mapped_column(default=clock.wall)
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)


class BusinessClock(Base):
    """How far business time stands from real time, for every process alike."""

    __tablename__ = "business_clock"

    team_id: Mapped[str] = mapped_column(String(32), primary_key=True, default="local")
    offset_seconds: Mapped[float] = mapped_column(default=0.0)


# ---------------------------------------------------------------- delivery to Slack


class Outbox(Base):
    """One visible message, as it should be. The sender makes Slack agree.

    ``revision`` counts what we want, ``sent_revision`` what Slack shows: the first delivery posts, later ones update.
    """

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=True)
    key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(String(12), default="message")  # message | file
    channel: Mapped[str] = mapped_column(String(64))  # a channel id, or a user id for their direct message
    channel_id: Mapped[str | None] = mapped_column(String(64))  # where it really went
    thread_key: Mapped[str | None]  # the outbox key of the message it replies to
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

    __table_args__ = (Index(None, "state", "next_at"), Index(None, "channel", "id"))


class File(Base):
    """Bytes to be shown or sent: a chart, a CSV. In SQL, so that they share the transaction that wants them."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str]
    mime: Mapped[str] = mapped_column(String(80))
    content: Mapped[bytes | None]  # dropped once delivered, where it holds identities or codes
    alt_text: Mapped[str] = mapped_column(Text, default="")
    sensitive: Mapped[bool] = mapped_column(default=False)
    slack_file_id: Mapped[str | None] = mapped_column(String(32))
    uploaded_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=clock.wall)


class Delivery(Base):
    """What Slack delivered and we have already acted on; Bolt does not de-duplicate."""

    __tablename__ = "deliveries"

    key: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=clock.wall)


# ---------------------------------------------------------------- schedules


class Schedule(Base):
    """Something that happens each week (or day) at a local time."""

    __tablename__ = "schedules"

    id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(40))
    args: Mapped[dict[str, Any]] = mapped_column(default=dict)
    weekday: Mapped[int | None]  # 0 Monday … 6 Sunday; None: every day
    at: Mapped[str] = mapped_column(String(5))  # HH:MM, local
    timezone: Mapped[str] = mapped_column(String(64))
    channel: Mapped[str | None] = mapped_column(String(64))
    created_by: Mapped[str] = mapped_column(String(64))
    active: Mapped[bool] = mapped_column(default=True)
    last_slot: Mapped[date | None]
    created_at: Mapped[datetime] = mapped_column(default=clock.now)


class Slot(Base):
    """One due moment of a schedule, taken exactly once."""

    __tablename__ = "schedule_slots"

    id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=True)
    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedules.id"))
    slot: Mapped[date]
    due_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(12))  # fired | skipped
    job_id: Mapped[str | None] = mapped_column(String(32))

    __table_args__ = (UniqueConstraint("schedule_id", "slot"),)


# ---------------------------------------------------------------- data and models


class ImportLog(Base):
    """One import: what was read, what became of it, where the bad rows are."""

    __tablename__ = "imports"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(40))
    source: Mapped[str] = mapped_column(Text)
    report: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(default=clock.now)


class DirectoryEntry(Base):
    """Enough of a customer for the light bot: kept by import and forget."""

    __tablename__ = "directory"

    team_id: Mapped[str] = mapped_column(String(32), primary_key=True, default="local")
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    pseudonym: Mapped[str] = mapped_column(String(32), index=True)
    email_hash: Mapped[str | None] = mapped_column(String(64), index=True)
    display_name: Mapped[str | None]
    segment: Mapped[str | None]


class ModelVersion(Base):
    """A trained model: what it was trained on, how good it was, where its artefact is, who promoted it."""

    __tablename__ = "model_versions"

    version: Mapped[str] = mapped_column(String(48), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))  # churn | recommend
    state: Mapped[str] = mapped_column(String(12), default="candidate")  # candidate | champion | retired
    estimator: Mapped[str] = mapped_column(String(40))
    rung: Mapped[str] = mapped_column(Text, default="")
    cutoff: Mapped[datetime]
    horizon_days: Mapped[int]
    active_within_days: Mapped[int | None]
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    features: Mapped[list[Any]] = mapped_column(default=list)
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    data_fingerprint: Mapped[str]
    code_version: Mapped[str]
    seed: Mapped[int]
    artefact: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    hmac: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str | None] = mapped_column(String(32))
    created_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    promoted_by: Mapped[str | None] = mapped_column(String(64))
    promoted_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "team_id", "kind", "state"),)


class Cohort(Base):
    """A handle on customers found by a sweep; their ids and scores are the lake's run ``run_id``."""

    __tablename__ = "cohorts"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    job_id: Mapped[str | None] = mapped_column(String(32))
    run_id: Mapped[str] = mapped_column(String(48))
    as_of: Mapped[datetime]
    model_version: Mapped[str] = mapped_column(String(48))
    tiers: Mapped[list[Any]]
    size: Mapped[int]
    revenue_at_risk: Mapped[Decimal]
    currency: Mapped[str] = mapped_column(String(8), default="")
    created_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)


# ---------------------------------------------------------------- campaigns


class Campaign(Base):
    """A coupon campaign. Every transition is a compare-and-set on ``version`` or ``state``."""

    __tablename__ = "campaigns"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str]
    state: Mapped[str] = mapped_column(String(12), default="draft")
    version: Mapped[int] = mapped_column(default=1)
    cohort_id: Mapped[str | None] = mapped_column(String(16))
    channel: Mapped[str | None] = mapped_column(String(64))
    post_key: Mapped[str]  # the outbox key of its message: its thread
    body: Mapped[dict[str, Any]]  # offer, audience, exclusions, hold-out, cost … as of `version`
    salt: Mapped[str] = mapped_column(String(64))
    drafted_by: Mapped[str] = mapped_column(String(64))
    submitted_by: Mapped[str | None] = mapped_column(String(64))
    submitted_at: Mapped[datetime | None]
    decided_by: Mapped[str | None] = mapped_column(String(64))
    decided_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(Text)
    expires_at: Mapped[datetime | None]
    send_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    window_ends_at: Mapped[datetime | None]
    result: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (Index(None, "team_id", "state"),)


class CampaignVersion(Base):
    """What a campaign said at each version, and who wrote it."""

    __tablename__ = "campaign_versions"

    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[dict[str, Any]]
    edited_by: Mapped[str] = mapped_column(String(64))
    edited_at: Mapped[datetime] = mapped_column(default=clock.now)


class CampaignEditor(Base):
    """Who drafted or edited a campaign: none of them may approve it."""

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
    """One customer of a campaign's audience, in treatment or in control.

    The draft stores the audience with each customer's ``bucket`` (0 … 9,999, from a keyed hash, stratified by tier);
    the transaction that approves sets every ``arm`` with one UPDATE. Until then it is ``audience``.
    """

    __tablename__ = "assignments"

    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"), primary_key=True)
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    arm: Mapped[str] = mapped_column(String(12), default="audience")  # audience | treatment | control
    bucket: Mapped[int]
    tier: Mapped[str] = mapped_column(String(8))
    churn_probability: Mapped[float]
    expected_value: Mapped[float]
    propensity: Mapped[float | None]
    offer: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Coupon(Base):
    """A single-use code, bound to one customer of one campaign."""

    __tablename__ = "coupons"

    code: Mapped[str] = mapped_column(String(24), primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    customer_id: Mapped[str]
    state: Mapped[str] = mapped_column(String(10), default="reserved")  # reserved | issued | redeemed | void
    expires_at: Mapped[datetime]
    issued_at: Mapped[datetime | None]
    redeemed_at: Mapped[datetime | None]
    order_id: Mapped[str | None]

    __table_args__ = (UniqueConstraint("campaign_id", "customer_id"),)


# ---------------------------------------------------------------- people


class RoleGrant(Base):
    """What a Slack user may do."""

    __tablename__ = "roles"

    team_id: Mapped[str] = mapped_column(String(32), primary_key=True, default="local")
    user_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str] = mapped_column(String(12))
    granted_by: Mapped[str] = mapped_column(String(64))
    granted_at: Mapped[datetime] = mapped_column(default=clock.now)


class Audit(Base):
    """Who did what to what, when and why. Only ever added to."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=True)
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    at: Mapped[datetime] = mapped_column(default=clock.now)
    wall_at: Mapped[datetime] = mapped_column(default=clock.wall)

    __table_args__ = (Index(None, "team_id", "subject"),)
