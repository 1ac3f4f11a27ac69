"""Tables of connections to other systems."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Id


class Connection(Base):
    """A connection to a shop or a mail platform.

    ``secrets`` is encrypted (`retention.connect.encryption`). ``channel`` owns the connection: its
    problems are posted there. ``state`` is active, paused or broken; ``error_code`` is that of
    `retention.connect.contract`.
    """

    __tablename__ = "connections"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
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


class ProfileDeletion(Base):
    """Profiles of erased customers that a mail platform has to delete.

    ``name`` is that of the connection, which may be removed and added with a new key meanwhile.
    ``sealed`` has their ids and addresses, encrypted; it is emptied when the platform or an admin
    has deleted them. ``state`` is waiting, deleted or by_hand; then it is emptied at ``retry_at``
    at the latest. Times are real time.
    """

    __tablename__ = "profile_deletions"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(String(32), index=True)  # that erased them
    name: Mapped[str] = mapped_column(String(40))
    kind: Mapped[str] = mapped_column(String(20))
    sealed: Mapped[bytes]
    state: Mapped[str] = mapped_column(String(12), default="waiting")
    error_code: Mapped[str | None] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=clock.wall)
    retry_at: Mapped[datetime]


class EventBatch(Base):
    """Accepted live events that wait for the lake (`retention.connect.live.inbox`).

    ``body`` is compressed NDJSON: canonical rows of the table ``kind``, or for ``touched`` the ids
    of customers.
    """

    __tablename__ = "event_inbox"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(12))  # events | old | customers | touched
    received_at: Mapped[datetime] = mapped_column(default=clock.wall)
    rows: Mapped[int]
    body: Mapped[bytes]


class EventKey(Base):
    """The hash of a recent event's identity: a repeated event is accepted once."""

    __tablename__ = "event_keys"

    team_id: Mapped[str] = mapped_column(String(32), primary_key=True, default="local")
    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    day: Mapped[date]

    __table_args__ = ({"sqlite_with_rowid": False},)


class LiveScore(Base):
    """The newest live score of a customer whose events arrived.

    It holds active customers only. A sweep with a later ``as_of`` is newer.
    """

    __tablename__ = "live_scores"

    team_id: Mapped[str] = mapped_column(String(32), primary_key=True, default="local")
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


class LiveSender(Base):
    """A system that sends live events: ``name`` is their source.

    ``hours`` has the begin of each hour with events, the oldest first (ISO 8601). ``silent_since``
    is set while people know that the sender is silent. All times are business time.
    """

    __tablename__ = "live_senders"

    team_id: Mapped[str] = mapped_column(String(32), primary_key=True, default="local")
    name: Mapped[str] = mapped_column(primary_key=True)
    hours: Mapped[list[Any]]
    last_at: Mapped[datetime]
    silent_since: Mapped[datetime | None]
