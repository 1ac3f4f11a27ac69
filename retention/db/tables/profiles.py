"""Tables of published scores, members of audiences, and keys of the read API."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Id


class ProfileSnapshot(Base):
    """All active customers' scores and the members of all audiences at one moment.

    Other systems read the newest complete one. ``completed_at`` is real time.
    """

    __tablename__ = "profile_snapshots"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    as_of: Mapped[datetime]
    model_version: Mapped[str] = mapped_column(String(48))
    customers: Mapped[int] = mapped_column(default=0)
    job_id: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    completed_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "team_id", "completed_at"),)


class Profile(Base):
    """A customer's scores in a snapshot."""

    __tablename__ = "profiles"

    snapshot_id: Mapped[int] = mapped_column(
        ForeignKey("profile_snapshots.id", ondelete="CASCADE"), primary_key=True
    )
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    churn_probability: Mapped[float]
    tier: Mapped[str] = mapped_column(String(12))
    expected_value: Mapped[float]
    next_order_at: Mapped[datetime | None]
    items: Mapped[list[Any]] = mapped_column(default=list)  # recommended item ids, best first


class AudienceMember(Base):
    """A member of a saved audience in a snapshot."""

    __tablename__ = "audience_members"

    snapshot_id: Mapped[int] = mapped_column(
        ForeignKey("profile_snapshots.id", ondelete="CASCADE"), primary_key=True
    )
    audience: Mapped[str] = mapped_column(String(40), primary_key=True)
    customer_id: Mapped[str] = mapped_column(primary_key=True)


class ApiKey(Base):
    """A key of the read API. Only its hash is stored."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(40))
    secret_hash: Mapped[str] = mapped_column(String(64))
    created_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    revoked_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "team_id", "name"),)
