"""Tables of connections to other systems, scheduled imports, webhooks and live events."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Numbered, TeamKeyed


class Connection(Numbered):
    """A connection to a shop or a mail platform.

    ``secrets`` is encrypted (`retention.connect.connections`). ``channel`` owns the connection: its
    problems are posted there. ``state`` is active, paused or broken; ``error_code`` is that of
    `retention.connect.contract`.
    """

    __tablename__ = "connections"

    name: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(20))
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    secrets: Mapped[bytes]
    channel: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(12), default="active")
    error_code: Mapped[str | None] = mapped_column(String(20))
    error_detail: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (UniqueConstraint("team_id", "name"),)


class ProfileDeletion(Numbered):
    """Profiles of erased customers that a mail platform has to delete.

    ``name`` is that of the connection, which may be removed and added with a new key meanwhile.
    ``sealed`` has their ids and addresses, encrypted; it is emptied when the platform or an admin
    has deleted them. ``state`` is waiting, deleted or by_hand; then it is emptied at ``retry_at``
    at the latest. Times are real time.
    """

    __tablename__ = "profile_deletions"

    job_id: Mapped[str] = mapped_column(String(32), index=True)  # that erased them
    name: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(20))
    sealed: Mapped[bytes]
    state: Mapped[str] = mapped_column(String(12), default="waiting")
    error_code: Mapped[str | None] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=clock.wall)
    retry_at: Mapped[datetime]


class Source(Numbered):
    """A place from which data is pulled on a schedule.

    ``kind`` is files, object_store, query or shop. ``every`` is ``hour`` or the text of a
    `workers.schedule.cadence.Cadence`. ``watermark`` says where the next pull continues, and
    ``columns`` are the mapped columns of the last good pull with their types. ``problem`` is the
    code of what keeps data from coming in; people hear of it once. Times are business time.
    """

    __tablename__ = "sources"

    name: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(16))
    connection_id: Mapped[int | None] = mapped_column(ForeignKey("connections.id"))
    location: Mapped[str] = mapped_column(Text)  # without passwords
    query: Mapped[str | None] = mapped_column(Text)
    watermark_column: Mapped[str | None] = mapped_column(String(120))
    table_name: Mapped[str | None] = mapped_column(String(20))  # None: several, of a shop
    map_text: Mapped[str | None] = mapped_column(Text)
    format_name: Mapped[str | None] = mapped_column(String(40))
    config: Mapped[dict[str, Any]] = mapped_column(default=dict)
    secrets: Mapped[bytes]
    every: Mapped[str] = mapped_column(String(40))
    timezone: Mapped[str] = mapped_column(String(64))
    channel: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(12), default="active")  # active | paused
    next_at: Mapped[datetime | None]
    watermark: Mapped[dict[str, Any]] = mapped_column(default=dict)
    columns: Mapped[dict[str, Any]] = mapped_column(default=dict)
    problem: Mapped[str | None] = mapped_column(String(24))
    problem_facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    failures: Mapped[int] = mapped_column(default=0)  # temporary ones in a row
    pulled_at: Mapped[datetime | None]
    new_rows_at: Mapped[datetime | None]
    created_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (UniqueConstraint("team_id", "name"),)


class SourceRun(Numbered):
    """One pull of a source with its counts of rows."""

    __tablename__ = "source_runs"

    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id"))
    job_id: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime]
    problem: Mapped[str | None] = mapped_column(String(24))
    rows_read: Mapped[int] = mapped_column(default=0)
    rows_accepted: Mapped[int] = mapped_column(default=0)
    rows_duplicate: Mapped[int] = mapped_column(default=0)
    rows_quarantined: Mapped[int] = mapped_column(default=0)
    rows_late: Mapped[int] = mapped_column(default=0)

    __table_args__ = (Index(None, "source_id", "at"),)


class Webhook(Numbered):
    """A verified delivery of a connected shop.

    A repeated delivery has the same ``delivery_id``. ``state`` is waiting, done or set_aside.
    ``body`` has personal data and is emptied when the delivery waits no more. ``retry_at`` is real
    time.
    """

    __tablename__ = "webhook_inbox"

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


class EventBatch(Numbered):
    """Accepted live events that wait for the lake (`retention.connect.live.inbox`).

    ``body`` is compressed NDJSON: canonical rows of the table ``kind``, or for ``touched`` the ids
    of customers.
    """

    __tablename__ = "event_inbox"

    kind: Mapped[str] = mapped_column(String(12))  # events | old | customers | touched
    received_at: Mapped[datetime] = mapped_column(default=clock.wall)
    rows: Mapped[int]
    body: Mapped[bytes]


class EventKey(TeamKeyed):
    """The hash of a recent event's identity: a repeated event is accepted once."""

    __tablename__ = "event_keys"

    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    day: Mapped[date]

    __table_args__ = ({"sqlite_with_rowid": False},)


class LiveScore(TeamKeyed):
    """The newest live score of a customer whose events arrived.

    It holds active customers only. A sweep with a later ``as_of`` is newer.
    """

    __tablename__ = "live_scores"

    customer_id: Mapped[str] = mapped_column(primary_key=True)
    as_of: Mapped[datetime]
    model_version: Mapped[str] = mapped_column(String(48))
    churn_probability: Mapped[float]
    tier: Mapped[str] = mapped_column(String(12))
    expected_value: Mapped[float]


class LiveFiring(Base):
    """A customer for whom a live alert fired since the alert's last complete check."""

    __tablename__ = "live_firings"

    alert_id: Mapped[int] = mapped_column(
        ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True
    )
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]


class LiveSender(TeamKeyed):
    """A system that sends live events: ``name`` is their source.

    ``hours`` has the begin of each hour with events, the oldest first (ISO 8601). ``silent_since``
    is set while people know that the sender is silent. All times are business time.
    """

    __tablename__ = "live_senders"

    name: Mapped[str] = mapped_column(primary_key=True)
    hours: Mapped[list[Any]]
    last_at: Mapped[datetime]
    silent_since: Mapped[datetime | None]
