"""Tables of what people decide about single customers: pauses, notes and calls."""

from datetime import date, datetime

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from retention import clock
from retention.db.tables.base import Numbered, TeamKeyed


class Pause(TeamKeyed):
    """A customer whom no campaign may include until a time (business time)."""

    __tablename__ = "pauses"

    customer_id: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[datetime]
    by: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(default=clock.now)


class Note(Numbered):
    """A person's note on a customer."""

    __tablename__ = "notes"

    customer_id: Mapped[str]
    text: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (Index(None, "team_id", "customer_id"),)


class CallEntry(TeamKeyed):
    """A customer on a call list.

    ``campaign_id`` is empty for customers that a person added by hand.
    """

    __tablename__ = "calls"

    campaign_id: Mapped[str] = mapped_column(String(16), primary_key=True, default="")
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str | None] = mapped_column(String(64))
    due_on: Mapped[date | None]
    outcome: Mapped[str | None] = mapped_column(String(16))  # retention.outreach.calls.OUTCOMES
    note: Mapped[str] = mapped_column(Text, default="")
    added_by: Mapped[str] = mapped_column(String(64))
    added_at: Mapped[datetime] = mapped_column(default=clock.now)
    changed_by: Mapped[str | None] = mapped_column(String(64))
    changed_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "team_id", "customer_id"), Index(None, "team_id", "owner"))


class Feedback(TeamKeyed):
    """A user's latest verdict on a score or item."""

    __tablename__ = "feedback"

    customer_id: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[str] = mapped_column(String(48), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    item_id: Mapped[str] = mapped_column(primary_key=True, default="")  # empty: of the score
    position: Mapped[int | None]  # on the list, from 1
    # useful | wrong (of an item: not for this customer)
    verdict: Mapped[str] = mapped_column(String(8))
    reason: Mapped[str] = mapped_column(Text, default="")
    as_of: Mapped[datetime]
    at: Mapped[datetime] = mapped_column(default=clock.now)

    __table_args__ = (Index(None, "team_id", "model_version"), Index(None, "team_id", "verdict"))


class Impression(TeamKeyed):
    """A recommended item in a list.

    The list was shown to the desk (``score``, ``recommend``) or to the customer (``campaign``).
    ``propensity`` is the probability of ``arm`` for this customer, or NULL without a random choice.
    """

    __tablename__ = "impressions"

    shown_in: Mapped[str] = mapped_column(String(32), primary_key=True)  # job or campaign
    customer_id: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)  # from 1
    item_id: Mapped[str]
    title: Mapped[str] = mapped_column(default="")
    surface: Mapped[str] = mapped_column(String(12))  # score | recommend | campaign
    source: Mapped[str] = mapped_column(String(16))
    model_version: Mapped[str] = mapped_column(String(48))
    arm: Mapped[str] = mapped_column(String(80), default="")
    propensity: Mapped[float | None]
    shown_at: Mapped[datetime]

    __table_args__ = (Index(None, "team_id", "surface", "shown_at"), Index(None, "customer_id"))
