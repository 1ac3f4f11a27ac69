"""Fixtures: a copy of a tiny shop with people for each test."""

import pytest

from retention import clock
from retention.db.tables import RoleGrant
from tests import readonly
from tests import shop as tiny
from tests.workers.campaigns.steps import ANALYST, LEAD, POLICY


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The tiny shop, built once; every test gets a copy."""
    shop = tiny.build(
        tmp_path_factory.mktemp("campaigns") / "home", customers=120, items=30, days=100
    )
    (shop.settings.home / "policy.toml").write_text(POLICY)
    with readonly.shared(shop) as created:
        yield created


@pytest.fixture
def desk(made, tmp_path):
    """A shop of this test's own with people in it, the day after its last event."""
    home = tmp_path / "home"
    shop = readonly.copy_of(made, home, admins="U0ADMIN", policy=home / "policy.toml")
    with shop.database.transaction() as session:
        for user, role in ((ANALYST, "analyst"), (LEAD, "approver")):
            session.add(RoleGrant(user_id=user, role=role, granted_by="U0ADMIN"))
    clock.configure(fixed=shop.end)
    yield shop
    shop.database.dispose()
