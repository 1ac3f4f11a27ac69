"""Tables of connections to other systems."""

from datetime import datetime
from typing import Any

from sqlalchemy import String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base, Id


class Connection(Base):
    """A connection to a shop or a mail platform.

    ``secrets`` is encrypted (`retention.connect.secrets`). ``channel`` owns the connection: its
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
