"""Upgrade the SQL database to the newest schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from retention.db.engine import Database
from retention.settings import Settings

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(settings: Settings, revision: str = "head") -> str:
    """Run the missing migrations. Idempotent.

    Several processes may upgrade at once: a lock makes them wait for each other.

    Returns: revision of the database afterwards.
    """
    database = Database(settings.database_url.get_secret_value(), settings)
    try:
        with database.engine.begin() as connection:
            if not database.is_sqlite:
                # Keep this key: in a rolling upgrade, a process of the old version may migrate at
                # the same time. `advisory_lock` uses other keys.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(20261124)")
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
            config.attributes |= {"connection": connection, "settings": settings}
            command.upgrade(config, revision)
            return MigrationContext.configure(connection).get_current_revision() or ""
    finally:
        database.engine.dispose()
