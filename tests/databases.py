"""Create the tables of a test database by copying a template, which is much faster than SQL."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from retention.db import Database
from retention.db.tables import Base


def create_tables(database: Database) -> None:
    """Create all tables of a new database.

    Parameters
    ----------
    database : Database
        Without tables. A SQLite file becomes a copy of a template that each process makes once.
    """
    path = Path(database.url.database or "")
    if not database.is_sqlite or path.exists():
        Base.metadata.create_all(database.engine)
        return
    path.write_bytes(_template())
    path.chmod(0o600)


@cache
def _template() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        database = Database(f"sqlite:///{path}")
        Base.metadata.create_all(database.engine)
        database.engine.dispose()
        return path.read_bytes()
