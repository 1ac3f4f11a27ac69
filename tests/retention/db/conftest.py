"""Provide an empty SQLite and an empty PostgreSQL database."""

import pytest
from sqlalchemy import text

from retention.db import Database
from retention.settings import Settings
from tests.postgres import postgres


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
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    database.engine.dispose()
    return Settings(home=tmp_path, database_url=url, secret_key="k" * 32, _env_file=None)
