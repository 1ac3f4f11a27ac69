"""Define the SQL tables, sessions and migrations.

A `Transaction` is an open session with the installation's settings. Services take the caller's and
never commit it.
"""

from retention.db.engine import Database, Transaction
from retention.db.tables import Base

__all__ = ["Base", "Database", "Transaction"]
