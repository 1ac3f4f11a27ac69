"""Columns that many migrations add. Old migrations use them, so they must never change."""

import sqlalchemy as sa

from retention.db.tables import Utc


def row_id() -> sa.Column[int]:
    """Return a number that the database gives, as the primary key."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("id", number, autoincrement=True, nullable=False)


def utc(name: str, *, nullable: bool = False) -> sa.Column[Utc]:
    """Return a moment."""
    return sa.Column(name, Utc(timezone=True), nullable=nullable)
