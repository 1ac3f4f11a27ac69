"""Fixtures: a copy of a tiny shop with people for each test."""

from contextlib import ExitStack
from datetime import datetime
from functools import cache, partial
from pathlib import Path

import pytest

from retention import clock
from retention.db.tables import RoleGrant
from retention.registry import ChurnDefinition, change_definition
from tests import readonly
from tests import shop as tiny
from tests.workers.campaigns.desk import ANALYST, LEAD, POLICY, Desk

STATES = {
    "draft": Desk.drafted,
    "draft for high risk": partial(Desk.drafted, tier="high"),
    "draft for a list": Desk.listed,
    "approved": Desk.approved,
    "live": Desk.live,
    "closed": Desk.closed,
}


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The tiny shop, built once; every test gets a copy."""
    home = tmp_path_factory.mktemp("campaigns") / "home"
    desk = Desk(**vars(tiny.build(home, customers=120, items=30, days=100)))
    (home / "policy.toml").write_text(POLICY)
    with readonly.shared(desk) as created:
        yield created


@pytest.fixture(scope="session")
def with_campaign(made, tmp_path_factory):
    """Return a function: the desk, read-only, with a campaign in one of `STATES`, and its time.

    Each is made once, by the same steps as in a test.
    """
    with ExitStack() as stack:

        @cache
        def desk_with(state: str) -> tuple[Desk, datetime]:
            desk = _desk_with_people(made, tmp_path_factory.mktemp("state") / "home")
            STATES[state](desk)
            now = clock.now()  # which sharing resets
            return stack.enter_context(readonly.shared(desk)), now

        yield desk_with


@pytest.fixture
def desk(request, made, tmp_path):
    """A shop of this test's own with people in it, the day after its last event.

    ``@pytest.mark.campaign("live")`` gives it a campaign in that state, of `STATES`.
    """
    home = tmp_path / "home"
    if marker := request.node.get_closest_marker("campaign"):
        shared, now = request.getfixturevalue("with_campaign")(*marker.args)
        desk = _copy(shared, home)
        clock.configure(fixed=now)
    else:
        desk = _desk_with_people(made, home)
    yield desk
    desk.database.dispose()


def _desk_with_people(made: Desk, home: Path) -> Desk:
    desk = _copy(made, home)
    with desk.database.transaction() as session:
        for user, role in ((ANALYST, "analyst"), (LEAD, "approver")):
            session.add(RoleGrant(user_id=user, role=role, granted_by="U0ADMIN"))
        # A window like that of the campaigns: customers are active until their results are in.
        change_definition(session, ChurnDefinition(28, 56, "person"), "U0ADMIN")
    clock.configure(fixed=desk.end)
    return desk


def _copy(desk: Desk, home: Path) -> Desk:
    return readonly.copy_of(desk, home, admins="U0ADMIN", policy=home / "policy.toml")
