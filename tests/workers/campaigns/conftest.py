"""Fixtures: a copy of a tiny shop with people for each test."""

from contextlib import ExitStack
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest

from retention import clock
from retention.db.tables import RoleGrant
from retention.registry import ChurnDefinition, change_definition
from tests import readonly
from tests import shop as tiny
from tests.workers.campaigns.steps import AFTER_CLEARANCE, ANALYST, LEAD, POLICY, approved, live


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The tiny shop, built once; every test gets a copy."""
    shop = tiny.build(
        tmp_path_factory.mktemp("campaigns") / "home", customers=120, items=30, days=100
    )
    (shop.settings.home / "policy.toml").write_text(POLICY)
    with readonly.shared(shop) as created:
        yield created


@pytest.fixture(scope="session")
def with_campaign(made, tmp_path_factory):
    """Return a function: the shop, read-only, with a campaign that is approved or live.

    Each is made once, by the same steps as in a test.
    """
    with ExitStack() as stack:

        @cache
        def shop_with(state: str) -> tiny.Shop:
            shop = _shop_with_people(made, tmp_path_factory.mktemp(state) / "home")
            {"approved": approved, "live": live}[state](shop)
            return stack.enter_context(readonly.shared(shop))

        yield shop_with


@pytest.fixture
def desk(request, made, tmp_path):
    """A shop of this test's own with people in it, the day after its last event.

    ``@pytest.mark.campaign("live")`` or ``("approved")`` gives it a campaign in that state.
    """
    home = tmp_path / "home"
    if marker := request.node.get_closest_marker("campaign"):
        (state,) = marker.args
        shop = _copy(request.getfixturevalue("with_campaign")(state), home)
        clock.configure(fixed=shop.end + (AFTER_CLEARANCE if state == "live" else timedelta()))
    else:
        shop = _shop_with_people(made, home)
    yield shop
    shop.database.dispose()


def _shop_with_people(made: tiny.Shop, home: Path) -> tiny.Shop:
    shop = _copy(made, home)
    with shop.database.transaction() as session:
        for user, role in ((ANALYST, "analyst"), (LEAD, "approver")):
            session.add(RoleGrant(user_id=user, role=role, granted_by="U0ADMIN"))
        # A window like that of the campaigns: customers are active until their results are in.
        change_definition(session, ChurnDefinition(28, 56, "person"), "U0ADMIN")
    clock.configure(fixed=shop.end)
    return shop


def _copy(shop: tiny.Shop, home: Path) -> tiny.Shop:
    return readonly.copy_of(shop, home, admins="U0ADMIN", policy=home / "policy.toml")
