"""Business time moves with the SQL offset, alike for all; real time never moves."""

from datetime import UTC, datetime, timedelta

import pytest

from retention import clock
from retention.db import Database
from retention.db.tables import BusinessClock
from tests.databases import create_tables


@pytest.fixture(autouse=True)
def _restore():
    yield
    clock.configure()


def test_offset_in_sql_moves_business_time_only(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/state.db")
    create_tables(database)
    clock.configure(offset=lambda: database.clock_offset("local"))
    with database.transaction() as session:
        session.merge(BusinessClock(team_id="local", offset_seconds=-86400))
    assert abs(clock.wall() - clock.now() - timedelta(days=1)) < timedelta(seconds=5)


def test_fixed_business_time_stays():
    at = datetime(2017, 10, 2, tzinfo=UTC)
    clock.configure(fixed=at)
    assert clock.now() == at
    assert clock.wall() > at
