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
    file = database.url.database if database.is_sqlite else None
    if not file or not _copied_to(Path(file)):
        Base.metadata.create_all(database.engine)


def _copied_to(path: Path) -> bool:
    """Copy the template in one step, unless the file exists.

    A thread of an earlier test may ask for the time and open the new file at any moment.
    """
    copy = path.with_name(f"{path.name}.template")
    copy.write_bytes(_template())
    copy.chmod(0o600)
    try:
        path.hardlink_to(copy)
    except FileExistsError:
        return False
    finally:
        copy.unlink()
    return True


@cache
def _template() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        database = Database(f"sqlite:///{path}")
        Base.metadata.create_all(database.engine)
        database.engine.dispose()
        return path.read_bytes()
