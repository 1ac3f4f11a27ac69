"""Test the nightly publication of scores and audiences for other systems."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select

from retention import clock, erasure
from retention.connect import api_keys, profiles
from retention.db.tables import Audience, AudienceMember, Job, Profile, ProfileSnapshot
from tests import readonly
from tests import shop as tiny
from workers import publishing, schedule
from workers.requests import PublishProfiles
from workers.tasks.runner import run_inline

ADMIN = "U0ADMIN"


@pytest.fixture
def shop(shop, tmp_path) -> Iterator[tiny.Shop]:
    """A copy of the session's shop, with one audience of all who may be at risk."""
    copy = readonly.copy_of(shop, tmp_path / "home", admins=ADMIN)
    clock.configure(fixed=shop.end)
    with copy.database.transaction() as session:
        session.add(
            Audience(
                team_id=copy.settings.team_id,
                name="all-risks",
                expression="risk >= low",
                customers=0,
                counted_as_of=shop.end,
                saved_by=ADMIN,
            )
        )
    yield copy
    copy.database.dispose()


def publish(shop) -> dict:
    return run_inline(shop.settings, shop.database, PublishProfiles(), user=ADMIN)


def counted(session, table) -> int:
    return session.scalar(select(func.count()).select_from(table))


def test_publication_has_every_score_and_every_member(shop):
    data = publish(shop)
    assert data["customers"] > 0
    assert data["audiences"] == {"all-risks": data["customers"]}
    with shop.database.reading() as session:
        snapshot = profiles.newest_snapshot(session, shop.settings)
        assert snapshot.customers == data["customers"] == counted(session, Profile)
        assert counted(session, AudienceMember) == data["customers"]
        customer = session.scalar(select(Profile.customer_id).order_by(Profile.customer_id))
        found = profiles.customer_profile(session, shop.settings, customer)
    assert found["risk"]["tier"] in ("high", "medium", "low")
    assert 0 <= found["risk"]["churn_probability"] <= 1
    assert found["audiences"] == ["all-risks"]


def test_two_publications_are_kept(shop):
    for _ in range(3):
        publish(shop)
    with shop.database.reading() as session:
        assert counted(session, ProfileSnapshot) == 2


def test_erased_customer_is_in_no_publication(shop):
    publish(shop)
    with shop.database.transaction() as session:
        customer = session.scalar(select(Profile.customer_id))
        erasure.erase_from_sql(session, shop.settings, [customer])
        for table in (Profile, AudienceMember):
            assert session.scalar(select(table).where(table.customer_id == customer)) is None


def test_nothing_is_published_while_nobody_reads(database, settings):
    with database.reading() as session:
        assert publishing.due(session, settings, clock.now()) is None
        assert publishing.next_moment(session, settings, clock.now()) is None


def test_publication_is_due_with_the_first_key_and_every_night(database, settings):
    zone = ZoneInfo(settings.timezone)
    noon = datetime(2026, 3, 1, 12, tzinfo=zone)
    clock.configure(fixed=noon)
    with database.transaction() as session:
        api_keys.add(session, settings, "crm", ADMIN)
    for at, jobs in ((noon, 1), (noon + timedelta(hours=3), 1), (noon + timedelta(hours=17), 2)):
        clock.configure(fixed=at)
        schedule.tick(database, settings)
        with database.reading() as session:
            found = session.scalars(select(Job).where(Job.kind == "publish_profiles")).all()
            assert len(found) == jobs
            upcoming = publishing.next_moment(session, settings, at)
        assert upcoming.astimezone(zone).hour == 4
        assert upcoming > at
