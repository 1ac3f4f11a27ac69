"""All SQL tables, sessions and migrations. Services take the caller's session and never commit it themselves."""

from retention.db.engine import Database
from retention.db.tables import Base

__all__ = ["Base", "Database"]
