"""Upgrade the SQL database to the newest schema."""

import logging
import re
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from retention.db.engine import Database
from retention.settings import Settings

MIGRATIONS = Path(__file__).parent / "migrations"
_REFUSAL = re.compile(r"authentication failed|does not exist|no pg_hba\.conf entry")
log = logging.getLogger(__name__)


def upgrade(settings: Settings, revision: str = "head") -> str:
    """Run the missing migrations. Idempotent.

    Several processes may upgrade at once: a lock makes them wait for each other.

    Returns: revision of the database afterwards.
    """
    database = Database(settings.database_url.get_secret_value(), settings)
    try:
        with database.engine.begin() as connection:
            lock(connection)
            return upgrade_within(connection, settings, revision)
    finally:
        database.engine.dispose()


def lock(connection: Connection) -> None:
    """Wait for others that migrate or fill the database; SQLite's writers wait anyway."""
    if connection.dialect.name == "postgresql":
        # Keep this key: in a rolling upgrade, a process of the old version may migrate at the same
        # time. `advisory_lock` uses other keys.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(20261124)")


def upgrade_within(connection: Connection, settings: Settings, revision: str = "head") -> str:
    """Run the missing migrations in the caller's transaction, which holds the lock."""
    config = _config()
    config.attributes |= {"connection": connection, "settings": settings}
    command.upgrade(config, revision)
    return revision_within(connection)


def upgrade_when_up(settings: Settings, patience: float = 300.0) -> str:
    """Upgrade a database that may not be up yet, such as one that starts beside us.

    `patience`: seconds until its absence is an error. A wrong password is one at once.
    """
    until = time.monotonic() + patience
    while True:
        try:
            return upgrade(settings)
        except OperationalError as error:
            is_sqlite = settings.database_url.get_secret_value().startswith("sqlite")
            if is_sqlite or _REFUSAL.search(str(error.orig)) or time.monotonic() >= until:
                raise
            log.warning("waiting for the database, which does not answer yet")
            time.sleep(1.0)


def revision_of(database: Database) -> str:
    """Return the revision of a database; empty without tables."""
    with database.engine.connect() as connection:
        return revision_within(connection)


def revision_within(connection: Connection) -> str:
    """Return the revision that a transaction sees; empty without tables."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def newest_revision() -> str:
    """Return the revision that this version of the desk needs."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
