"""Create the tables of a test database by copying a template, which is much faster than SQL."""

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from retention.db import Database, migrate
from retention.db.tables import Base
from retention.settings import Settings


def create_tables(database: Database) -> None:
    """Create all tables of a new database.

    Parameters
    ----------
    database : Database
        Without tables. A SQLite file becomes a copy of a template that each process makes once.
    """
    file = database.url.database if database.is_sqlite else None
    if not file or not _copied_to(Path(file), _template()):
        Base.metadata.create_all(database.engine)


def migrate_once_per_process() -> None:
    """Let new databases in the folders of homes be copies of the first that was migrated."""
    real, one_at_a_time = migrate.upgrade, threading.Lock()

    def upgrade(settings: Settings, revision: str = "head") -> str:
        path = Path(settings.database_url.get_secret_value().removeprefix("sqlite:///"))
        is_new = path.is_absolute() and path.parent.is_dir() and not path.exists()
        if is_new and revision == "head":
            with one_at_a_time:  # alembic is not made for threads
                _copied_to(path, _migrated(real))
        return real(settings, revision)

    migrate.upgrade = upgrade


@cache
def _migrated(upgrade: Callable[[Settings], str]) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "migrated.db"
        upgrade(Settings(home=folder, database_url=f"sqlite:///{path}", _env_file=None))
        return path.read_bytes()


def _copied_to(path: Path, template: bytes) -> bool:
    """Copy a template in one step, unless the file exists.

    A thread of an earlier test may ask for the time and open the new file at any moment.
    """
    copy = path.with_name(f"{path.name}.{threading.get_ident()}.template")
    copy.write_bytes(template)
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
