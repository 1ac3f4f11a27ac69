"""Fixtures of the tests with a whole desk."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.playground_client import PlaygroundClient, demo
from tests.postgres import postgres


@pytest.fixture(scope="module")
def desk(tmp_path_factory: Any) -> Iterator[PlaygroundClient]:
    """The demo on PostgreSQL; that of `test_fake_shop.py` is on SQLite."""
    folder = tmp_path_factory.mktemp("demo")
    environment = {"RETENTION_SECRET_KEY": "a-key-for-tests-only-0123456789ab"}
    with postgres() as url:
        # As an operator writes it, without the name of a driver.
        environment["RETENTION_DATABASE_URL"] = url.replace("+psycopg", "", 1)
        with demo(folder / "home", log=folder / "log", **environment) as started:
            yield started
