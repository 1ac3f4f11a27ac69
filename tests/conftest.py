"""Fixtures that every test may use."""

import pytest
from hypothesis import settings as hypothesis

from retention import clock
from retention.db import Database
from retention.db.tables import Base
from retention.settings import Settings
from tests import shop as tiny
from tests.haste import hastily

# How long an example takes says nothing on a busy machine.
hypothesis.register_profile("any machine", deadline=None)
hypothesis.load_profile("any machine")


@pytest.fixture(autouse=True)
def _own_clock():
    """No test leaves its business time to the next."""
    yield
    clock.configure()


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> tiny.Shop:
    """The tiny shop (tests/shop.py), made once. Read only; `tests.shop.build` makes one of your own."""
    return tiny.build(tmp_path_factory.mktemp("shop") / "home")


@pytest.fixture
def hasty():
    """Rankers of recommendations learn hastily, where a test asks how and from what, not how well."""
    with hastily():
        yield


@pytest.fixture
def settings(tmp_path) -> Settings:
    """Settings of an empty installation of this test's own."""
    return Settings(home=tmp_path / "home", _env_file=None)


@pytest.fixture
def database(settings) -> Database:
    """Its SQL database, with all tables."""
    made = Database.of(settings)
    Base.metadata.create_all(made.engine)
    yield made
    made.dispose()
