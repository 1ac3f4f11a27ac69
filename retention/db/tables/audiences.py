"""Tables of audiences."""

from datetime import datetime

from sqlalchemy import String, Text, UniqueConstraint, false
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
