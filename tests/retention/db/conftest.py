"""Provide an empty SQLite and an empty PostgreSQL database."""

from collections.abc import Iterator

import pytest

from retention.db import Database
from retention.settings import Settings
from tests.postgres import make_empty, postgres


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
