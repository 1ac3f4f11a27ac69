"""What people said of a score and its reasons."""

from datetime import datetime

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Base


class Feedback(Base):
    """One person's word on one customer's score by one model: pressing again changes this row."""

    __tablename__ = "feedback"

    team_id: Mapped[str] = mapped_column(String(32), primary_key=True, default="local")
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[str] = mapped_column(String(48), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(8))  # useful | wrong
    reason: Mapped[str] = mapped_column(Text, default="")
    as_of: Mapped[datetime]
    at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (Index(None, "team_id", "model_version"), Index(None, "team_id", "verdict"))
