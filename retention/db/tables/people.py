"""Roles, and the record of who did what."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Id


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

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    at: Mapped[datetime] = mapped_column(default=clock.now)
    wall_at: Mapped[datetime] = mapped_column(default=clock.wall)

    __table_args__ = (Index(None, "team_id", "subject"),)


class Erasure(Base):
    """A customer id that was erased, as a keyed hash: enough to keep it from coming back, too little to know whom it was."""

    __tablename__ = "erasures"

    id_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(8))  # of the key that hashed it
    by: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(default=clock.now)
