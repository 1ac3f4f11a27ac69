"""Tables of jobs, schedules and processes, and of Slack messages, files and requests."""

from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, false, func
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Numbered, TeamKeyed


class Job(Base):
    """A background job.

    The row is authoritative; the broker only wakes a worker.

    ``queued → running → done | failed | cancelled``, by compare-and-set on (id, state, attempt).
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    queue: Mapped[str] = mapped_column(String(20))
    args: Mapped[dict[str, Any]]
    idem_key: Mapped[str] = mapped_column(unique=True)
    request_key: Mapped[str | None] = mapped_column(String(64))  # equal for identical requests
    # Counts towards the limits of ``requested_by``
    by_person: Mapped[bool] = mapped_column(default=False, server_default=false())
    state: Mapped[str] = mapped_column(String(12), default="queued")
    attempt: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    # Server defaults serve processes of an old version that lacks both columns during an upgrade.
    # Start of waiting
    queued_at: Mapped[datetime] = mapped_column(
        default=clock.wall, server_default=func.current_timestamp()
    )
    # Time its wake-up was last published, or seen in the broker.
    enqueued_at: Mapped[datetime | None]
    # Workers that died running it since it was queued
    lost: Mapped[int] = mapped_column(default=0, server_default="0")
    requested_by: Mapped[str] = mapped_column(String(64))
    channel: Mapped[str | None] = mapped_column(String(64))
    thread_key: Mapped[str | None]
    # The span that asked for it (`retention.traces`)
    traceparent: Mapped[str | None] = mapped_column(String(55))
    progress_done: Mapped[int] = mapped_column(default=0)
    progress_total: Mapped[int] = mapped_column(default=0)
    progress_text: Mapped[str] = mapped_column(default="")
    worker: Mapped[str] = mapped_column(default="")
    cancel_at: Mapped[datetime | None]
    cancelled_by: Mapped[str | None] = mapped_column(String(64))
    error: Mapped[str | None] = mapped_column(Text)
    reference: Mapped[str | None] = mapped_column(String(32))
    result: Mapped[dict[str, Any] | None]
    business_at: Mapped[datetime] = mapped_column(default=clock.now)
    created_at: Mapped[datetime] = mapped_column(default=clock.wall)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index(None, "state", "enqueued_at"),
        Index(None, "team_id", "created_at"),
        Index(None, "team_id", "request_key", "state"),
        Index(None, "team_id", "requested_by", "state", "queued_at"),
    )


class JobJoin(Base):
    """A person's request that an open job of the same request answers.

    The job goes on for them if its owner cancels it.
    """

    __tablename__ = "job_joins"

    idem_key: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(String(32), index=True)
    user_id: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(default=clock.wall)


class Run(Base):
    """The lake rows of a job's attempt. Readers only see published runs."""

    __tablename__ = "runs"

    run_id: Mapped[str] = mapped_column(String(48), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(32))
    table_name: Mapped[str] = mapped_column(String(40))
    published_at: Mapped[datetime] = mapped_column(default=clock.wall)


class Process(Base):
    """The last heartbeat of a process."""

    __tablename__ = "processes"
    STALE_AFTER = timedelta(seconds=45)  # silent for so long, a process counts as gone

    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    role: Mapped[str] = mapped_column(String(20))
    seen_at: Mapped[datetime] = mapped_column(default=clock.wall)
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)


class BusinessClock(TeamKeyed):
    """The offset of business time from real time."""

    __tablename__ = "business_clock"

    offset_seconds: Mapped[float] = mapped_column(default=0.0)


class Schedule(Numbered):
    """A daily, weekly or monthly job at a local time. ``active`` is False once it is deleted."""

    __tablename__ = "schedules"

    kind: Mapped[str] = mapped_column(String(40))
    args: Mapped[dict[str, Any]] = mapped_column(default=dict)
    weekday: Mapped[int | None]  # 0 Monday … 6 Sunday; None: every day
    monthday: Mapped[int | None]  # 1 … 31; -1: the last working day; None: not monthly
    command: Mapped[str | None] = mapped_column(Text)  # as typed; None: a digest of before
    paused_at: Mapped[datetime | None]
    at: Mapped[str] = mapped_column(String(5))  # HH:MM, local
    timezone: Mapped[str] = mapped_column(String(64))
    channel: Mapped[str | None] = mapped_column(String(64))
    created_by: Mapped[str] = mapped_column(String(64))
    active: Mapped[bool] = mapped_column(default=True)
    last_slot: Mapped[date | None]
    created_at: Mapped[datetime] = mapped_column(default=clock.now)


class Slot(Numbered):
    """A due time of a schedule, taken once."""

    __tablename__ = "schedule_slots"

    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedules.id"))
    slot: Mapped[date]
    due_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(12))  # fired | skipped
    job_id: Mapped[str | None] = mapped_column(String(32))

    __table_args__ = (UniqueConstraint("schedule_id", "slot"),)


class Outbox(Numbered):
    """The desired content of a Slack message.

    The sender posts it, and updates it while ``sent_revision`` (shown in Slack) is less than
    ``revision`` (desired).
    """

    __tablename__ = "outbox"

    key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(String(12), default="message")  # message | file
    # A channel id, or a user id for their direct message
    channel: Mapped[str] = mapped_column(String(64))
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
    traceparent: Mapped[str | None] = mapped_column(String(55))  # the span of its last writer
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


class Thread(TeamKeyed):
    """What a Slack thread is about: the last command typed in it.

    ``customer`` is a pseudonym, and so are customers in ``command``.
    """

    __tablename__ = "threads"

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
