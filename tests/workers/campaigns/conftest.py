"""A tiny shop with people in it, for each test of a campaign's life a copy of its own."""

import shutil

import pytest

from retention import clock
from retention.db import Database
from retention.db.tables import RoleGrant
from retention.lake import Lake
from retention.settings import Settings
from tests import shop as tiny
from tests.workers.campaigns.steps import ANALYST, LEAD, POLICY


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The tiny shop, built once; every test gets a copy."""
    home = tmp_path_factory.mktemp("campaigns") / "home"
    shop = tiny.build(home, customers=120, items=30, days=100)
    shop.database.dispose()
    (home / "policy.toml").write_text(POLICY)
    return home, shop.end


@pytest.fixture
def desk(made, tmp_path):
    """A shop of this test's own with people in it, the day after its last event."""
    home = tmp_path / "home"
    shutil.copytree(made[0], home)
    settings = Settings(home=home, admins="U0ADMIN", policy=home / "policy.toml", _env_file=None)
    shop = tiny.Shop(settings, Database.of(settings), Lake.open(settings), tiny.BEGIN, made[1])
    with shop.database.transaction() as session:
        for user, role in ((ANALYST, "analyst"), (LEAD, "approver")):
            session.add(RoleGrant(user_id=user, role=role, granted_by="U0ADMIN"))
    clock.configure(fixed=shop.end)
    yield shop
    shop.database.dispose()
