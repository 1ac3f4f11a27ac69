"""Define the SQL tables, sessions and migrations.

Services use the caller's session and never commit it.
"""

from retention.db.engine import Database
from retention.db.tables import Base

__all__ = ["Base", "Database"]
