"""Tables of audiences."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Id


class Audience(Base):
    """A named expression that describes customers.

    It stores no customer. ``is_exclusion``: drafts always leave these customers out.
    """

    __tablename__ = "audiences"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(40))
    expression: Mapped[str] = mapped_column(Text)
    is_exclusion: Mapped[bool] = mapped_column(default=False, server_default=false())
    customers: Mapped[int]  # as counted when it was saved
    counted_as_of: Mapped[datetime]
    saved_by: Mapped[str] = mapped_column(String(64))
    saved_at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (UniqueConstraint("team_id", "name"),)


class Alert(Base):
    """A condition that people want to hear of once it becomes true.

    ``state`` holds what was true at the last check, without customers. A check of customers
    compares the scores of two moments instead.
    """

    __tablename__ = "alerts"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(40))
    condition: Mapped[str] = mapped_column(Text)
    audience: Mapped[str | None] = mapped_column(String(40))
    channel: Mapped[str | None] = mapped_column(String(64))
    created_by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    muted_at: Mapped[datetime | None]
    snoozed_until: Mapped[datetime | None]
    checked_at: Mapped[datetime | None]
    state: Mapped[dict[str, Any]] = mapped_column(default=dict)

    __table_args__ = (UniqueConstraint("team_id", "name"),)


class AlertFiring(Base):
    """A time at which an alert's condition became true.

    ``state`` is ``sent``, ``capped`` (beyond the daily limit), ``snoozed`` or ``muted``.
    """

    __tablename__ = "alert_firings"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    alert_id: Mapped[int] = mapped_column(ForeignKey("alerts.id"))
    at: Mapped[datetime]
    customers: Mapped[int] = mapped_column(default=0)
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)  # counts and names, no customer
    state: Mapped[str] = mapped_column(String(12), default="sent")

    __table_args__ = (Index(None, "team_id", "at"),)


class ProgrammeHoldout(Base):
    """The share of customers that no campaign contacts, from a moment on.

    The newest row counts. All rows have the same salt, so a customer stays inside while the share
    does not fall.
    """

    __tablename__ = "programme_holdouts"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
    share: Mapped[float]
    salt: Mapped[str] = mapped_column(String(64))
    set_by: Mapped[str] = mapped_column(String(64))
    set_at: Mapped[datetime] = mapped_column(default=clock.now)
