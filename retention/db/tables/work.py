"""Tables of jobs, runs, processes and schedules."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, false, func
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Id


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
    by_person: Mapped[bool] = mapped_column(  # counts towards the limits of ``requested_by``
        default=False, server_default=false()
    )
    state: Mapped[str] = mapped_column(String(12), default="queued")
    attempt: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    # Server defaults serve processes of an old version that lacks both columns during an upgrade.
    queued_at: Mapped[datetime] = mapped_column(  # start of waiting
        default=clock.wall, server_default=func.current_timestamp()
    )
    enqueued_at: Mapped[
        datetime | None
    ]  # time its wake-up was last published, or seen in the broker
    lost: Mapped[int] = mapped_column(  # workers that died running it since it was queued
        default=0, server_default="0"
    )
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
    team_id: Mapped[str] = mapped_column(String(32), default="local")
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

    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    role: Mapped[str] = mapped_column(String(20))
    seen_at: Mapped[datetime] = mapped_column(default=clock.wall)
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)


class BusinessClock(Base):
    """The offset of business time from real time."""

    __tablename__ = "business_clock"

    team_id: Mapped[str] = mapped_column(String(32), primary_key=True, default="local")
    offset_seconds: Mapped[float] = mapped_column(default=0.0)


class Schedule(Base):
    """A daily, weekly or monthly job at a local time. ``active`` is False once it is deleted."""

    __tablename__ = "schedules"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
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


class Slot(Base):
    """A due time of a schedule, taken once."""

    __tablename__ = "schedule_slots"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedules.id"))
    slot: Mapped[date]
    due_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(12))  # fired | skipped
    job_id: Mapped[str | None] = mapped_column(String(32))

    __table_args__ = (UniqueConstraint("schedule_id", "slot"),)
