"""Provide an empty SQLite and an empty PostgreSQL database, and a full one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from retention.db import Database
from retention.db.migrate import upgrade
from retention.settings import Settings
from tests.postgres import make_empty, postgres
from tests.retention.db.filled import fill


@pytest.fixture(scope="session")
def postgres_url():
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request, tmp_path) -> Settings:
    """Return settings of an empty database."""
    if request.param == "sqlite":
        return Settings(home=tmp_path, _env_file=None)
    url = request.getfixturevalue("postgres_url")
    make_empty(url)
    return Settings(home=tmp_path, database_url=url, secret_key="k" * 32, _env_file=None)


@pytest.fixture
def database(empty) -> Iterator[Database]:
    """Open the database, which may have no tables yet."""
    made = Database(empty.database_url.get_secret_value(), empty)
    yield made
    made.engine.dispose()


@pytest.fixture(scope="session")
def filled_file(tmp_path_factory) -> Path:
    """Return a SQLite database with rows in every table. Read only: tests copy it."""
    settings = Settings(home=tmp_path_factory.mktemp("filled"), _env_file=None)
    upgrade(settings)
    database = Database(settings.database_url.get_secret_value(), settings)
    fill(database)
    database.engine.dispose()
    return settings.home / "state.db"
