"""Tables of scheduled imports."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Id


class Source(Base):
    """A place from which data is pulled on a schedule.

    ``kind`` is files, object_store, query or shop. ``every`` is ``hour`` or the text of a
    `workers.schedule.cadence.Cadence`. ``watermark`` says where the next pull continues, and
    ``columns`` are the mapped columns of the last good pull with their types. ``problem`` is the
    code of what keeps data from coming in; people hear of it once. Times are business time.
    """

    __tablename__ = "sources"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
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


class SourceRun(Base):
    """One pull of a source with its counts of rows."""

    __tablename__ = "source_runs"

    id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=True)
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
