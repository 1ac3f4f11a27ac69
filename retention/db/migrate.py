"""Bring the SQL database to the newest schema: ``retention db upgrade``."""

from pathlib import Path

from alembic import command
from alembic.config import Config

from retention.db.engine import Database
from retention.settings import Settings

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(settings: Settings, revision: str = "head") -> str:
    """Run the migrations that are missing, in one transaction each; does nothing where there are none.

    Safe when several processes start at once: SQLite's writers queue, PostgreSQL's take an advisory lock.

    Returns
    -------
    str
        The revision the database is at now.
    """
    from alembic.runtime.migration import MigrationContext

    database = Database(settings.database_url.get_secret_value())
    try:
        with database.engine.begin() as connection:
            if not database.is_sqlite:
                # Not `turns.wait_turn`: its key is another, and would not meet a process of the version before, which may
                # migrate at the same moment of a rolling upgrade.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(20261124)")
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            return MigrationContext.configure(connection).get_current_revision() or ""
    finally:
        database.engine.dispose()
